"""Four bits per weight, chosen site by site, against four bits everywhere: differences on the same images, with intervals.

First the trials, one network at a time, then the lines:

    harness sweep --experiment four_bits --model deit_tiny_patch16_224.fb_in1k --weights FILE --store STORE
    python -m benchmarks.mixed_bits --store STORE

They go to ``benchmarks/mixed.csv``, in place of earlier lines of the same trials; ``python -m benchmarks.pages`` writes them
into docs/diagnose.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from benchmarks.pages.lines import read, write
from harness.leaderboard.stats.difference import difference
from harness.store.store import Store
from harness.trial.record import Record

CSV = Path(__file__).resolve().parent / "mixed.csv"
COLUMNS = (
    "network",
    "stack",
    "bits",
    "bytes",
    "image_forwards",
    "seconds",
    "top1_fp32",
    "top1",
    "difference",
    "low",
    "high",
)


def lines_of(store: Store) -> list[dict[str, object]]:
    """A line for each trial that ``allocate`` made and for the uniform one it is compared with."""
    found: list[dict[str, object]] = []
    records = [record for record in store.records() if record["status"] == "done"]
    for uniform in records:
        mixed = [record for record in records if _compares(record, uniform)]
        if mixed:
            found += [_line(store, one, uniform) for one in (uniform, *mixed)]
    return found


def _compares(record: Record, uniform: Record) -> bool:
    """Whether a record is the other one with bits from ``allocate``."""
    same = all(record[key] == uniform[key] for key in ("model", "data", "bits", "calib", "seed"))  # type: ignore[literal-required]
    return same and record["stack"].startswith("allocate(") and record["stack"].partition("+")[2] == uniform["stack"]


def _line(store: Store, record: Record, uniform: Record) -> dict[str, object]:
    metrics = record["metrics"]
    steps = record["stages"][:-1]  # without the evaluation
    line: dict[str, object] = {"network": record["model"], "stack": record["stack"], "bits": record["bits"]}
    line |= {"bytes": record["size_bytes"], "top1_fp32": metrics["top1_fp32"], "top1": metrics["top1"]}
    line |= {"image_forwards": round(sum(stage["image_forwards"] + stage["shared_image_forwards"] for stage in steps))}
    line |= {"seconds": round(sum(stage["seconds"] + stage["shared_seconds"] for stage in steps), 1)}
    if record is uniform:
        return line
    sides = [store.correct(one["id"])[:1] for one in (uniform, record)]
    found = difference(*sides).interval
    return line | {"difference": found.value, "low": found.low, "high": found.high}


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--csv", type=Path, default=CSV)
    given = parser.parse_args()
    known = {_trial(line): line for line in (*read(given.csv), *lines_of(Store(given.store)))}
    write(given.csv, COLUMNS, sorted(known.values(), key=_place))


def _trial(line: Mapping[str, object]) -> tuple[object, ...]:
    return line["network"], line["stack"], line["bits"]


def _place(line: Mapping[str, object]) -> tuple[str, bool]:
    """Networks together, the uniform widths of each first."""
    return str(line["network"]), str(line["stack"]).startswith("allocate(")


if __name__ == "__main__":
    main()
