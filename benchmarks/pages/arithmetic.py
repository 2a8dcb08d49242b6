"""What the pages say of integer against float arithmetic: a line for each run of ``benchmarks/arithmetic.py``."""

from __future__ import annotations

from pathlib import Path

from benchmarks.pages.lines import Row, network_name, read, table
from benchmarks.pages.searches import ROOT

ARITHMETIC = ROOT / "benchmarks" / "arithmetic.csv"
HEADERS = [
    "network",
    "bits",
    "stack",
    "on integers",
    "forward: float",
    "forward: integer",
    "float against itself",
    "integer",
    "both",
]


def arithmetic(path: Path = ARITHMETIC) -> str:
    """Forward against full precision, and the distance of a network to itself."""
    return table(read(path), HEADERS, _line)


def _line(row: Row) -> list[str]:
    start = [
        network_name(row),
        row["bits"],
        f"`{row['stack']}`",
        f"{float(row['share']):.0f} %",
        row["float"],
        row["integer"],
    ]
    return [*start, row["float, oneDNN off"], _own(row), row["integer against float"]]


def _own(row: Row) -> str:
    """Integer arithmetic against itself: one word where all three changes leave every byte."""
    texts = [row[f"integer, {change}"] for change in ("oneDNN off", "batch 7", "two threads")]
    return texts[0] if len(set(texts)) == 1 else "; ".join(texts)
