"""A record as people read it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli.actions.extra_lines import altered_line, arithmetic_line, fewer_images, grid_lines, loops, warnings
from harness.machine.inert import steerable
from harness.text import inert
from harness.trial.record import Record, RecordedAnchor, task_of
from harness.trial.spec import DATA, FEATURES, calibrated, repeating

UNKNOWN = "-"
ANCHOR_POINTS = 0.1  # full precision further from its publication than this is worth a warning


def print_summary(record: Record, path: Path, *, cached: bool, store: Path | None = None) -> None:
    """Print the result, its cost and its coverage to standard output.

    Args:
        record: A finished trial.
        path: Its file.
        cached: Nothing was run.
        store: The folder given with ``--store``; None for the default one, which the repetition finds by itself.
    """
    wide = None if sys.stdout.isatty() else 110
    console = Console(file=steerable(sys.stdout), highlight=False, markup=False, emoji=False, width=wide)
    origin = "  (stored record, nothing was run)" if cached else ""
    title = Text(inert(record["stack"]), style="bold")
    console.print(title.append(inert(f"  {record['bits']}  {record['model']}{origin}"), style="not bold"))
    for part in (_result(record), _stages(record), _coverage(record)):
        console.print(part)
    console.print(inert("\n".join(_facts(record))))
    console.print(inert(f"record   {path}\nrepeat   {repeating(record['command'])}{_place(store)} --force"), soft_wrap=True)


def _place(store: Path | None) -> str:
    """``--store`` as it is written in any folder."""
    return "" if store is None else f" --store {shlex.quote(str(store.absolute()))}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


def _row(table: Table, *cells: str) -> None:
    """Cells as plain text: what a record says is no markup."""
    table.add_row(*(Text(inert(cell)) for cell in cells))


def _shown(value: float | None, form: str, missing: str = "-") -> str:
    """A number, or that it is missing: records of other groups may lack it."""
    return missing if value is None else format(value, form)


def _result(record: Record) -> Table:
    metrics = record["metrics"]
    if task_of(record) == FEATURES:
        return _features(record)
    table = _table("", "top-1 %", "top-5 %", "correct", "agreement %", "logit SQNR dB")
    count = metrics["n_images"]
    sqnr = _shown(metrics["logit_sqnr_db"], ".1f", "exact") if "logit_sqnr_db" in metrics else "-"
    _row(
        table,
        "quantized",
        _shown(metrics.get("top1"), ".2f"),
        _shown(metrics.get("top5"), ".2f"),
        f"{metrics['n_correct']} / {count}",
        _shown(metrics.get("agreement"), ".2f"),
        sqnr,
    )
    if (floor := record.get("noise_floor")) is not None:  # what of the distance to full precision is arithmetic
        ratio = _shown(floor["logit_sqnr_db"], ".1f", "exact")
        _row(table, f"to itself, {floor['against']} arithmetic", "", "", "", _shown(floor.get("agreement"), ".2f"), ratio)
    right = _shown(metrics.get("n_correct_fp32"), "d")
    _row(
        table,
        "full precision",
        _shown(metrics.get("top1_fp32"), ".2f"),
        _shown(metrics.get("top5_fp32"), ".2f"),
        f"{right} / {count}",
    )
    return table


def _features(record: Record) -> Table:
    """How far output vectors moved; there is no class to be right."""
    metrics = record["metrics"]
    table = _table("features", "cosine", "smallest", "SQNR dB", "images")
    cosine, least = _shown(metrics.get("feature_cosine"), ".5f"), _shown(metrics.get("feature_cosine_min"), ".5f")
    _row(table, "quantized", cosine, least, _shown(metrics.get("feature_sqnr_db"), ".1f", "exact"), str(metrics["n_images"]))
    if (floor := record.get("noise_floor")) is not None:
        ratio = _shown(floor["logit_sqnr_db"], ".1f", "exact")
        _row(table, f"to itself, {floor['against']} arithmetic", "", "", ratio)
    return table


def _stages(record: Record) -> Table:
    table = _table("stage", "seconds", "forward passes", "peak memory MB", "")
    for stage in record["stages"]:
        passes = _shown(stage.get("forward_passes"), ".1f") if stage.get("image_forwards") else "-"
        notes, peak = stage.get("notes", {}), stage.get("peak_memory_bytes")
        memory = "-" if peak is None else f"{peak / 1e6:.0f}"
        _row(table, stage["name"], f"{stage['seconds']:.2f}", passes, memory, loops(notes) or fewer_images(notes))
    return table


def _coverage(record: Record) -> Table:
    table = _table("quantized tensors", "sites", "bits", "granularity")
    for row in record["coverage"]:
        bits = ",".join(map(str, row["bits"])) or "32"
        _row(table, row["tensors"], f"{row['quantized']} of {row['total']}", bits, ",".join(row["granularity"]) or "-")
    return table


def _facts(record: Record) -> list[str]:
    anchor, full, full_work = record.get("anchor"), record.get("size_bytes_fp32"), record.get("bit_operations_fp32")
    size = "?" if full is None else f"{full / 1e6:.2f}"
    work = "?" if full_work is None else f"{full_work / 1e9:.1f}"
    lines = [
        f"size     {record['size_bytes'] / 1e6:.2f} MB (full precision {size} MB)",
        f"work     {record['bit_operations'] / 1e9:.2f} G bit-operations per image (full precision {work} G)",
        *([f"widths   {record['bit_map']}"] if "bit_map" in record else []),
        *altered_line(record),
        *grid_lines(record),
        *arithmetic_line(record),
        f"protocol {record['protocol']}",
        f"drawn    {calibrated(record['calib'], record.get('calib_source', DATA))}, seed {record['seed']}",
        f"id       {record['id']}",
        *warnings(record),
    ]
    if overlap := record["data"].get("overlap"):
        lines.append(f"overlap  {overlap} calibration images are evaluation images too (--allow-overlap)")
    return [*lines, f"anchor   {_anchor(anchor)}"] if anchor else lines


def _anchor(anchor: RecordedAnchor) -> str:
    """The published full-precision accuracy and how ours compares."""
    top1, images = _shown(anchor.get("top1"), ".2f", "?"), _shown(anchor.get("images"), ",", "?")
    published = f"full precision {top1} published on {images} images ({anchor.get('source', 'no source')})"
    difference = anchor.get("difference")
    if difference is None:
        return f"{published}; other images here, not comparable"
    warning = "" if abs(difference) <= ANCHOR_POINTS else ": another checkpoint or another preprocessing?"
    return f"{published}; here {difference:+.2f}{warning}"
