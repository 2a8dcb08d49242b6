"""The table of ``--task features`` as Markdown."""

from __future__ import annotations

import pandas as pd
from tabulate import tabulate

from harness.leaderboard import text
from harness.leaderboard.board.altered import altered_sign
from harness.leaderboard.board.features import feature_rows

LABELS = ("stack", "network")
NUMBERS = ("cosine", "SQNR dB", "seeds", "time", "MB")
LEGEND = (
    "Mean cosine similarity of quantized and full-precision output vectors, ± sample standard deviation over seeds, and the "
    "ratio of signal to error of the vectors. Nothing is ranked: there are no classes to be right about."
)


def features_markdown(rows: pd.DataFrame) -> str:
    """A table per board; empty when no trial measured features.

    Args:
        rows: One row per record, as ``harness.store.table.table`` makes it.
    """
    found = feature_rows(rows)
    parts = []
    for title, part in found.groupby("board", sort=False):
        lines = [
            [text.code(row["stack"]) + altered_sign(row["altered"]), text.markdown(row["network"]), *shown(row)]
            for _, row in part.iterrows()
        ]
        table = tabulate(lines, headers=(*LABELS, *NUMBERS), tablefmt="pipe", disable_numparse=True)
        commands = "\n".join(f"- {text.code(row['command'])} (record {row['ids']})" for _, row in part.iterrows())
        details = f"<details><summary>Commands and records of each row</summary>\n\n{commands}\n\n</details>"
        parts += [f"### {text.markdown(str(title))}", table, details]
    return "\n\n".join([*parts, LEGEND]) if parts else ""


def shown(row: pd.Series) -> list[str]:
    """The numbers of a row, in the order of ``NUMBERS``."""
    spread = "" if pd.isna(row["cosine_sd"]) else f" ± {row['cosine_sd']:.5f}"
    return [
        f"{row['cosine']:.5f}{spread}",
        "exact" if pd.isna(row["sqnr_db"]) else f"{row['sqnr_db']:.1f}",
        str(row["seeds"]),
        "-" if pd.isna(row["seconds"]) else text.duration(float(row["seconds"])),
        f"{row['size_bytes'] / 1e6:.2f}",
    ]
