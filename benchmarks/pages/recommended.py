"""What the page on recommendations says of how good they are, from ``benchmarks/recommended.py``."""

from __future__ import annotations

from pathlib import Path

from benchmarks.pages.lines import Row, read, table
from benchmarks.pages.searches import ROOT

RECOMMENDED = ROOT / "benchmarks" / "recommended.csv"
HEADERS = ["network", "limits", "recommended", "MB", "drop expected", "measured", "best in hindsight", "MB", "drop", "place"]


def recommended(path: Path = RECOMMENDED) -> str:
    """Three questions a network, each beside what labels would have chosen."""
    rows = read(path)
    shown = table(rows, HEADERS, _line)
    return f"{shown}\n\n{_about(rows)}" if rows else shown


def _line(row: Row) -> list[str]:
    network = f"`{row['network'].partition('_patch')[0]}`"
    if not row["stack"]:
        return [network, row["limits"], "none", *["-"] * 7]
    chosen = [f"`{row['stack']}` {row['bits']}", _megabytes(row["bytes"]), row["expected_drop"], row["drop"]]
    best = [f"`{row['best_stack']}` {row['best_bits']}", _megabytes(row["best_bytes"]), row["best_drop"]]
    place = f"{row['rank']} of {row['admissible']}" if row["rank"] else "breaks the limit"
    return [network, row["limits"], *chosen, *(best if row["best_stack"] else ["none", "-", "-"]), place]


def _megabytes(text: str) -> str:
    return f"{int(text) / 1e6:.2f}"


def _about(rows: list[Row]) -> str:
    recipes = " and ".join(sorted({row["recipes"] for row in rows}))
    forwards = ", ".join(f"{int(row['image_forwards']):,}" for row in rows)
    return (
        f"Of {recipes} recipes. *Place* is that of the recommended recipe among those that keep to the limits as measured\n"
        f"with labels, by the same preference. The questions cost {forwards} image forwards; trials that two of them\n"
        "share count for both. Drops are points of top-1 on the evaluation images.\n"
        "Measured by `python -m benchmarks.recommended`."
    )
