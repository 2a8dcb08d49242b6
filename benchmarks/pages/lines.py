"""Lines of the CSV files that benchmarks write and pages show."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """All lines; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Nothing but these lines."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def append(path: Path, columns: Sequence[str], row: Mapping[str, Any]) -> None:
    """One more line."""
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def table(rows: Iterable[Row], headers: Sequence[str], line: Callable[[Row], list[str]]) -> str:
    """A Markdown table with what ``line`` makes of each row."""
    lines = [line(row) for row in rows]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True) if lines else "Not measured yet."


def network_name(row: Row) -> str:
    """``deit_tiny``, and whether its weights are random."""
    name = f"`{row['network'].partition('_patch')[0].partition('.')[0]}`"
    return name if row["weights"] == "real" else f"{name} (random)"
