"""A record as people read it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.trial.record import Record, RecordedAnchor
from harness.trial.spec import DATA, calibrated

ANCHOR_POINTS = 0.1  # full precision further from its publication than this is worth a warning


def print_summary(record: Record, path: Path, *, cached: bool) -> None:
    """Print the result, its cost and its coverage to standard output."""
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 110)
    origin = "  (stored record, nothing was run)" if cached else ""
    console.print(f"[bold]{record['stack']}[/]  {record['bits']}  {record['model']}{origin}")
    console.print(_result(record))
    console.print(_stages(record))
    console.print(_coverage(record))
    console.print(_facts(record))
    console.print(f"record   {path}\nrepeat   {record['command']} --force", soft_wrap=True, markup=False)


def _plain(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


def _result(record: Record) -> Table:
    metrics = record["metrics"]
    table = _plain("", "top-1 %", "top-5 %", "correct", "agreement %", "logit SQNR dB")
    count = metrics["n_images"]
    sqnr = metrics["logit_sqnr_db"]
    table.add_row(
        "quantized",
        f"{metrics['top1']:.2f}",
        f"{metrics['top5']:.2f}",
        f"{metrics['n_correct']} / {count}",
        f"{metrics['agreement']:.2f}",
        "exact" if sqnr is None else f"{sqnr:.1f}",
    )
    table.add_row(
        "full precision",
        f"{metrics['top1_fp32']:.2f}",
        f"{metrics['top5_fp32']:.2f}",
        f"{metrics['n_correct_fp32']} / {count}",
    )
    return table


def _stages(record: Record) -> Table:
    table = _plain("stage", "seconds", "forward passes", "peak memory MB", "")
    for stage in record["stages"]:
        passes = f"{stage['forward_passes']:.1f}" if stage["image_forwards"] else "-"
        notes = stage["notes"]
        extra = f"naive: {notes['naive_forward_passes']}" if "naive_forward_passes" in notes else _images(notes)
        table.add_row(stage["name"], f"{stage['seconds']:.2f}", passes, f"{stage['peak_memory_bytes'] / 1e6:.0f}", extra)
    return table


def _images(notes: Mapping[str, Any]) -> str:
    """How many images a method used, where its authors used more."""
    used, wanted = notes.get("images_used", 0), notes.get("images_wanted", 0)
    return f"{used} images, published: {wanted}" if used < wanted else ""


def _coverage(record: Record) -> Table:
    table = _plain("quantized tensors", "sites", "bits", "granularity")
    for row in record["coverage"]:
        bits = ",".join(map(str, row["bits"])) or "32"
        table.add_row(row["tensors"], f"{row['quantized']} of {row['total']}", bits, ",".join(row["granularity"]) or "-")
    return table


def _facts(record: Record) -> str:
    grid = "yes" if record["on_grid"] else f"no ({len(record['off_grid_sites'])} tensors leave it)"
    anchor = record.get("anchor") or {}
    size, full = record["size_bytes"], record["size_bytes_fp32"]
    work, full_work = record["bit_operations"], record["bit_operations_fp32"]
    lines = [
        f"size     {size / 1e6:.2f} MB (full precision {full / 1e6:.2f} MB)",
        f"work     {work / 1e9:.2f} G bit-operations per image (full precision {full_work / 1e9:.1f} G)",
        f"grid     all tensors on the integer grid: {grid}; protocol: {record['protocol']}",
        f"drawn    {calibrated(record['calib'], record.get('calib_source', DATA))}, seed {record['seed']}",
        f"id       {record['id']}",
    ]
    if anchor:
        lines.append(f"anchor   {_anchor(anchor)}")
    return "\n".join(lines)


def _anchor(anchor: RecordedAnchor) -> str:
    """The published full-precision accuracy and how ours compares."""
    published = f"full precision {anchor['top1']:.2f} published on {anchor['images']:,} images ({anchor['source']})"
    if anchor["difference"] is None:
        return f"{published}; other images here, not comparable"
    warning = "" if abs(anchor["difference"]) <= ANCHOR_POINTS else ": another checkpoint or another preprocessing?"
    return f"{published}; here {anchor['difference']:+.2f}{warning}"
