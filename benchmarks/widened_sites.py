"""How many sites must stay in full precision until a scheme loses little: those that ``allocate`` picks, and random ones.

For each number of sites one trial with the sites that cost most alone (what ``allocate(of=sites)`` solves for), and trials
with as many sites drawn at random, all on the same images:

    python -m benchmarks.widened_sites --model vit_tiny_patch16_224 --weights vit.safetensors --data imagenet \
        --calib 64 --eval-limit 200 --sites 0,12,24,48 --out widened.csv

The costs of the sites are measured once, on the last quarter of the calibration images; rows are added to the file, and
rows that it has are not measured again. Trials are kept in the store. At the end ``benchmarks/widened.csv`` gets a line for
each number of sites, with the difference to the random choices on the same images; ``python -m benchmarks.pages`` writes
them into docs/diagnose.md.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from benchmarks.pages.lines import append, read, write
from harness.engines.allocation import solve
from harness.engines.mixed import Judged, problem_of, spending, widths_of
from harness.leaderboard.stats.difference import difference
from harness.machine.terminal import terminal_progress
from harness.method.widths import map_of
from harness.run.held_out import Fitted, fitted
from harness.run.run_trial import run_trial
from harness.store.store import Store
from harness.trial.bits import FULL, Bits
from harness.trial.spec import TrialSpec

METRICS = ("top1", "top1_fp32", "logit_sqnr_db")
COLUMNS = ("sites", "chosen_by", "seed", *METRICS, "id")
CURVE = Path(__file__).resolve().parent / "widened.csv"
CURVE_COLUMNS = ("network", "stack", "bits", "sites", "top1_fp32", "allocate", "random", "difference", "low", "high")
SENSITIVITIES = ("sqnr", "fisher", "hessian")


def main() -> None:
    arguments = parsed()
    base = TrialSpec(
        arguments.method,
        model=arguments.model,
        weights=arguments.weights,
        data=arguments.data,
        bits=arguments.bits,
        calib=arguments.calib,
        eval_limit=arguments.eval_limit,
    )
    done = {(row["sites"], row["chosen_by"], row["seed"]) for row in read(arguments.out)}
    wanted = [int(part) for part in arguments.sites.split(",")]
    for count, chosen_by, seed, bits in maps(base, wanted, arguments):
        if (str(count), chosen_by, str(seed)) in done:
            continue
        spec = TrialSpec(**{**vars(base), "bits": bits})
        record = run_trial(spec, Store.default(arguments.store), terminal_progress()).record
        if record["status"] != "done":
            raise SystemExit(record["error"]["message"])
        metrics = record["metrics"]
        row = {"sites": count, "chosen_by": chosen_by, "seed": seed, "id": record["id"]}
        append(arguments.out, COLUMNS, row | {name: metrics[name] for name in METRICS})
    write_curve(arguments, Store.default(arguments.store))


def maps(base: TrialSpec, wanted: list[int], arguments: argparse.Namespace) -> Iterable[tuple[int, str, int, str]]:
    """Numbers of sites, who chose them, with which seed, and the bits that come of it."""
    progress = terminal_progress()
    network = fitted(base, max(base.calib // 4, 1), progress)
    model, bits = network.model, network.prepared.bits
    names = list(model.quantizers)
    widths = (min(bits.weight, bits.activation), FULL)
    signs = torch.Generator().manual_seed(0)
    judged = Judged(
        model,
        network.held[: arguments.images],
        network.budget,
        progress,
        lambda x: torch.randint(0, 2, x.shape, generator=signs).to(x) * 2 - 1,
    )
    costs = {widths[0]: judged.costs(names, arguments.sensitivity), FULL: {}}
    for count in wanted:
        chosen = []
        if count:
            problem = problem_of(names, widths, costs, spending(model, names, widths, "sites"), count)
            chosen = [name for name, width in widths_of(problem, solve(problem)).items() if width == FULL]
        yield count, f"allocate {arguments.sensitivity}", 0, text_of(network, bits, chosen)
        for seed in range(arguments.seeds if count else 0):
            yield count, "random", seed, text_of(network, bits, random.Random(seed).sample(names, count))


def text_of(network: Fitted, bits: Bits, names: list[str]) -> str:
    """The bits with these sites in full precision."""
    model = network.model
    model.widths.clear()
    model.widths.update(dict.fromkeys(names, FULL))
    text = map_of(model, bits)
    model.widths.clear()
    return text


def write_curve(arguments: argparse.Namespace, store: Store) -> None:
    """A line for each number of sites: what ``allocate`` reaches, what random choices reach, and the paired difference."""
    about = {"network": arguments.model, "stack": arguments.method, "bits": arguments.bits}
    rows = read(arguments.out)
    counts = dict.fromkeys(row["sites"] for row in rows)
    curve = [about | {"sites": one} | compared([row for row in rows if row["sites"] == one], store) for one in counts]
    write(CURVE, CURVE_COLUMNS, curve)


def compared(rows: list[dict[str, str]], store: Store) -> dict[str, object]:
    """One number of sites."""
    (best,) = (row for row in rows if row["chosen_by"] != "random")
    others = [row for row in rows if row["chosen_by"] == "random"]
    found: dict[str, object] = {"top1_fp32": best["top1_fp32"], "allocate": best["top1"]}
    if not others:
        return found
    drawn = np.concatenate([store.correct(row["id"])[:1] for row in others])
    apart = difference(drawn, np.repeat(store.correct(best["id"])[:1], len(drawn), axis=0)).interval
    mean = sum(float(row["top1"]) for row in others) / len(others)
    return found | {"random": mean, "difference": apart.value, "low": apart.low, "high": apart.high}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="fqvit", metavar="<stack>")
    parser.add_argument("--model", default="embedded", metavar="<name>")
    parser.add_argument("--weights", type=Path, metavar="<file>")
    parser.add_argument("--data", default="embedded", metavar="<path>")
    parser.add_argument("--bits", default="w8a8", metavar="<widths>")
    parser.add_argument("--calib", type=int, default=64, metavar="<n>")
    parser.add_argument("--eval-limit", type=int, metavar="<n>")
    parser.add_argument("--images", type=int, default=16, metavar="<n>", help="most images that judge sites")
    parser.add_argument("--sensitivity", default="sqnr", choices=SENSITIVITIES)
    parser.add_argument("--sites", default="0,6,12,24", metavar="<n,...>")
    parser.add_argument("--seeds", type=int, default=3, metavar="<n>", help="of random choices")
    parser.add_argument("--store", metavar="<dir>")
    parser.add_argument("--out", type=Path, default=Path("widened_sites.csv"), metavar="<file>")
    return parser.parse_args()


if __name__ == "__main__":
    main()
