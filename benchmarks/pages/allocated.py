"""What the pages say of bits that ``allocate`` chose: ``benchmarks/widened_sites.py`` and ``benchmarks/mixed_bits.py``."""

from __future__ import annotations

from pathlib import Path

from benchmarks.pages.lines import Row, read, table
from benchmarks.pages.searches import ROOT

WIDENED = ROOT / "benchmarks" / "widened.csv"
MIXED = ROOT / "benchmarks" / "mixed.csv"


def widened(path: Path = WIDENED) -> str:
    """Top-1 over the number of sites in full precision, chosen and drawn."""
    headers = ["sites in full precision", "chosen by `allocate`", "drawn at random", "difference"]
    return table(read(path), headers, _widened_line)


def mixed(path: Path = MIXED) -> str:
    """Four bits per weight on average against four bits everywhere."""
    headers = ["network", "stack", "MB", "image forwards", "seconds", "top-1", "difference to uniform"]
    return table(read(path), headers, _mixed_line)


def _widened_line(row: Row) -> list[str]:
    drawn = f"{float(row['random']):.1f}" if row["random"] else "-"
    return [row["sites"], f"{float(row['allocate']):.1f}", drawn, _difference(row)]


def _mixed_line(row: Row) -> list[str]:
    start = [f"`{row['network'].partition('_patch')[0]}`", f"`{row['stack']}`", f"{int(row['bytes']) / 1e6:.3f}"]
    return [*start, f"{int(row['image_forwards']):,}", row["seconds"], f"{float(row['top1']):.1f}", _difference(row)]


def _difference(row: Row) -> str:
    if not row["difference"]:
        return "-"
    return f"{float(row['difference']):+.1f} ({float(row['low']):+.1f} to {float(row['high']):+.1f})"
