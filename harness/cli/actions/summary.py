"""A record as people read it."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.trial.record import Record, RecordedAnchor
from harness.trial.spec import DATA, calibrated

UNKNOWN = "-"
ANCHOR_POINTS = 0.1  # full precision further from its publication than this is worth a warning


def print_summary(record: Record, path: Path, *, cached: bool) -> None:
    """Print the result, its cost and its coverage to standard output."""
    console = Console(
        file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 110, markup=False, emoji=False
    )
    origin = "  (stored record, nothing was run)" if cached else ""
    console.print(Text(record["stack"], style="bold"), f" {record['bits']}  {record['model']}{origin}")
    console.print(_result(record))
    console.print(_stages(record))
    console.print(_coverage(record))
    console.print(_facts(record))
    console.print(f"record   {path}\nrepeat   {record['command']} --force", soft_wrap=True)


def _plain(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


def _result(record: Record) -> Table:
    metrics = record["metrics"]
    table = _plain("", "top-1 %", "top-5 %", "correct", "agreement %", "logit SQNR dB")
    count, sqnr = metrics["n_images"], metrics.get("logit_sqnr_db", math.nan)
    table.add_row(
        "quantized",
        f"{metrics['top1']:.2f}",
        _number(metrics.get("top5"), 2),
        f"{metrics['n_correct']} / {count}",
        f"{metrics['agreement']:.2f}",
        "exact" if sqnr is None else _number(sqnr, 1),
    )
    table.add_row(
        "full precision",
        f"{metrics['top1_fp32']:.2f}",
        _number(metrics.get("top5_fp32"), 2),
        f"{metrics.get('n_correct_fp32', UNKNOWN)} / {count}",
    )
    return table


def _stages(record: Record) -> Table:
    table = _plain("stage", "seconds", "forward passes", "peak memory MB", "")
    for stage in record["stages"]:
        passes = _number(stage.get("forward_passes") if stage.get("image_forwards") else None, 1)
        notes = stage.get("notes", {})
        extra = f"naive: {notes['naive_forward_passes']}" if "naive_forward_passes" in notes else ""
        peak = _number(stage.get("peak_memory_bytes"), 0, 1e6)
        table.add_row(stage["name"], f"{stage['seconds']:.2f}", passes, peak, extra)
    return table


def _number(value: float | None, digits: int, unit: float = 1.0) -> str:
    """A number for people; a dash where a record does not have it."""
    return UNKNOWN if value is None or math.isnan(value) else f"{value / unit:.{digits}f}"


def _coverage(record: Record) -> Table:
    table = _plain("quantized tensors", "sites", "bits", "granularity")
    for row in record["coverage"]:
        bits = ",".join(map(str, row["bits"])) or "32"
        table.add_row(row["tensors"], f"{row['quantized']} of {row['total']}", bits, ",".join(row["granularity"]) or UNKNOWN)
    return table


def _facts(record: Record) -> str:
    grid = "yes" if record["on_grid"] else f"no ({len(record.get('off_grid_sites', []))} tensors leave it)"
    anchor = record.get("anchor")
    size, full = _number(record["size_bytes"], 2, 1e6), _number(record.get("size_bytes_fp32"), 2, 1e6)
    work, full_work = _number(record["bit_operations"], 2, 1e9), _number(record.get("bit_operations_fp32"), 1, 1e9)
    lines = [
        f"size     {size} MB (full precision {full} MB)",
        f"work     {work} G bit-operations per image (full precision {full_work} G)",
        f"grid     all tensors on the integer grid: {grid}; protocol: {record['protocol']}",
        f"drawn    {calibrated(record['calib'], record.get('calib_source', DATA))}, seed {record['seed']}",
        f"id       {record['id']}",
    ]
    if anchor:  # empty for a network without one
        lines.append(f"anchor   {_anchor(anchor)}")
    return "\n".join(lines)


def _anchor(anchor: RecordedAnchor) -> str:
    """The published full-precision accuracy and how ours compares."""
    published = f"full precision {anchor['top1']:.2f} published on {anchor['images']:,} images ({anchor['source']})"
    if anchor["difference"] is None:
        return f"{published}; other images here, not comparable"
    warning = "" if abs(anchor["difference"]) <= ANCHOR_POINTS else ": another checkpoint or another preprocessing?"
    return f"{published}; here {anchor['difference']:+.2f}{warning}"
