"""The grid of supplementary Table 1 with and without shared stack prefixes, in one run.

``python benchmarks/shared_prefixes.py`` runs 4 stacks x 3 bit-widths x 3 seeds on the embedded network twice: every trial
alone (``--no-share``), then sharing. Prints wall time, forward passes that were really run, and the ratios; the results of
both must be equal. About half an hour on two cores; ``--passes`` shortens Evol-Q (10 is the paper's).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.store.store import Store

STACKS = ("fqvit", "fqvit+omse", "fqvit+omse+biascorr", "fqvit+omse+biascorr+evolq(passes={passes})")


def run(root: Path, passes: int, *words: str) -> tuple[float, float, float]:
    """Wall seconds, forward passes on calibration images, and image forwards of the evaluations, as really spent."""
    methods = ",".join(STACKS).format(passes=passes)
    command = [sys.executable, "-m", "harness", "sweep", "experiment=table1", "--method", methods, "--workers", "1"]
    started = time.perf_counter()
    subprocess.run([*command, "--store", str(root), "--quiet", *words], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - started
    calibration = evaluation = 0.0
    for record in Store(root).records():
        for stage in record["stages"]:
            spent = stage["image_forwards"] - stage["shared_image_forwards"]
            if stage["name"] == "evaluate":
                evaluation += spent
            else:
                calibration += spent / record["calib"]
    return wall, calibration, evaluation


def outcome(root: Path) -> str:
    """Everything but times, to compare the two runs."""
    return json.dumps([[record["id"], record.get("metrics")] for record in Store(root).records()])


def main() -> None:
    """Run both and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=10, help="passes of Evol-Q (default: 10)")
    parser.add_argument("--eval-limit", help="evaluation images (default: all 10,000)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the records of the sharing run in this store")
    given = parser.parse_args()
    passes = given.passes
    with tempfile.TemporaryDirectory() as folder:
        alone, together = Path(folder) / "alone", given.keep or Path(folder) / "together"
        limit = ["--eval-limit", given.eval_limit] if given.eval_limit else []
        first = run(alone, passes, "--no-share", *limit)
        second = run(together, passes, *limit)
        same = outcome(alone) == outcome(together)
    images = given.eval_limit or "10,000"
    print(f"36 trials, Evol-Q with {passes} passes, {images} evaluation images; equal results: {same}")
    names = ("wall seconds", "calibration forward passes", "evaluation image forwards")
    for name, before, after in zip(names, first, second, strict=True):
        print(f"{name:<28} alone {before:10.1f}   shared {after:10.1f}   ratio {before / after:.2f}")


if __name__ == "__main__":
    main()
