"""Markdown tables of records: one per model, data, bit-width and calibration size; rows are stacks."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd
from tabulate import tabulate

from harness.record import Record
from leaderboard.frame import frame

GROUP = ["model", "data", "data_fingerprint", "n_images", "bits", "calib"]
HEADERS = ("stack", "top-1 %", "to fp32", "agreement %", "SQNR dB", "s", "MB", "n", "on grid", "protocol")


def markdown(records: Iterable[Record]) -> str:
    """All tables, then the failed trials with their reasons."""
    rows = frame(records)
    done = rows[rows["status"] == "done"]
    parts = [_table(key, group) for key, group in done.groupby(GROUP, sort=True)]
    others = rows[rows["status"] != "done"]
    if len(others):
        parts.append(_not_done(others))
    return "\n\n".join(parts)


def _table(key: tuple[object, ...], group: pd.DataFrame) -> str:
    model, data, _, count, bits, calib = (escaped(str(part)) for part in key)
    full = group["top1_fp32"].mean()
    stacks = [_stack_row(str(name), part) for (name, _), part in group.groupby(["stack", "protocol"], sort=False)]
    stacks.sort(key=lambda row: -float(row[1].split()[0]))
    about = f"{data}, {int(float(count))} evaluation images, full precision {full:.2f} %"
    title = f"### {model}, {bits}, {calib} calibration images\n\n{about}"
    return f"{title}\n\n{tabulate(stacks, headers=HEADERS, tablefmt='pipe', disable_numparse=True)}"


def _stack_row(name: str, part: pd.DataFrame) -> list[str]:
    return [
        f"`{escaped(name)}`",
        spread(part["top1"]),
        f"{(part['top1'] - part['top1_fp32']).mean():+.2f}",
        spread(part["agreement"]),
        spread(part["logit_sqnr_db"], 1),
        f"{part['seconds'].mean():.1f}",
        f"{part['size_bytes'].mean() / 1e6:.2f}",
        str(len(part)),
        "yes" if part["on_grid"].all() else "no",
        escaped(str(part["protocol"].iloc[0])) + (" (saw evaluation images)" if (part["protocol"] == "paper").any() else ""),
    ]


def spread(values: pd.Series, digits: int = 2) -> str:
    """Mean, with the sample standard deviation when there is more than one value."""
    numbers = [float(value) for value in values if value is not None and not math.isnan(float(value))]
    if not numbers:
        return "exact"
    series = pd.Series(numbers)
    deviation = f" ± {series.std():.{digits}f}" if len(numbers) > 1 else ""
    return f"{series.mean():.{digits}f}{deviation}"


def _not_done(rows: pd.DataFrame) -> str:
    lines = [
        [escaped(str(row[name])) for name in ("id", "status", "model", "bits", "stack", "seed", "error")]
        for _, row in rows.iterrows()
    ]
    headers = ("id", "status", "model", "bits", "stack", "seed", "reason")
    return "### Not done\n\n" + tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def escaped(text: str) -> str:
    """Text that cannot break out of a Markdown table cell."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("`", "'").replace("<", "&lt;").replace("\n", " ")
