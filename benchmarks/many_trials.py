"""A large sweep on the command line: CPU seconds and peak memory of ``plan``, ``resume``, ``status`` and ``report``.

``python benchmarks/many_trials.py`` plans 20,000 trials of the embedded network, once with an empty store and once with
every trial done, and looks at a sweep of them. The records are made up; nothing is quantized. Each command runs in a
process of its own; ``import`` is the same process with torch and timm loaded and nothing done. ``--trials`` changes the
number.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

STACKS = ("fqvit", "fqvit+omse", "fqvit+omse+biascorr", "fqvit+omse+biascorr+evolq")
BITS = ("w8a8", "w6a8", "w4a8", "w3a8", "w4a4")
IMPORTS = "import torch, timm"
MAIN = "import sys; from harness.cli.main import main; sys.argv = ['harness', *sys.argv[1:]]; sys.exit(main())"


def measured(code: str, *words: str) -> tuple[float, float, str]:
    """CPU seconds, peak megabytes and the output of a Python process.

    Raises:
        RuntimeError: It failed.
    """
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=out, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"{' '.join(words)} ended with status {status}")
        out.seek(0)
        return used.ru_utime + used.ru_stime, used.ru_maxrss / 1000, out.read()


def told(name: str, code: str, *words: str) -> str:
    """Measure, print one line, return the output."""
    seconds, megabytes, output = measured(code, *words)
    print(f"{name:<24} {seconds:7.1f} CPU s {megabytes:8.0f} MB", flush=True)
    return output


def grid(trials: int) -> list[str]:
    """The words of a grid with about so many trials."""
    seeds = max(1, trials // (len(STACKS) * len(BITS)))
    words = ["--method", ",".join(STACKS), "--bits", ",".join(BITS), "--seed", f"range({seeds})"]
    return [*words, "--eval-limit", "100", "--device", "cpu"]


def done(root: Path, plan: list[dict[str, object]]) -> None:
    """Made-up records of every trial of a plan, and the sweep of them."""
    from benchmarks.store_load import synthetic
    from harness.store.store import Store
    from harness.sweep.cells import DONE, Plan, PlanCell
    from harness.sweep.manifest import create
    from harness.trial.spec import TrialSpec

    store, cells = Store(root), []
    for number, row in enumerate(plan):
        trial: dict[str, object] = row["trial"]  # type: ignore[assignment]
        record = {
            **synthetic(number),
            "id": row["id"],
            "stack": trial["method"],
            "bits": trial["bits"],
            "seed": trial["seed"],
        }
        record |= {"calib": trial["calib"], "asked": trial}
        folder = store.folder(str(row["id"]))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        cells.append(PlanCell(TrialSpec.from_dict(trial), str(row["id"]), DONE, identity={"x": 1}))
    create(store, "many", "", Plan(tuple(cells), 0, 0, 0, {}, 0), {"kind": "local"}, "harness sweep")


def main() -> None:
    """Plan, make records, look at them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20_000, help="trials (default: 20,000)")
    words = grid(parser.parse_args().trials)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        place = ["--store", str(root), "--quiet"]
        told("import", IMPORTS)
        plan = json.loads(told("plan, nothing done", MAIN, "plan", *words, *place, "--json"))
        print(f"{len(plan['trials'])} trials")
        done(root, plan["trials"])
        told("plan, all done", MAIN, "plan", *words, *place)
        told("resume, all done", MAIN, "resume", *place)
        told("status", MAIN, "status", "--store", str(root))
        told("report, first", MAIN, "report", *place)
        told("report, again", MAIN, "report", *place)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
