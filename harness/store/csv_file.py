"""Rows as a CSV file that is safe to open in a spreadsheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from harness.text import spreadsheet


def write_csv(rows: pd.DataFrame, path: Path) -> None:
    """Write rows; a text that a spreadsheet would compute, or that steers a terminal, is made inert.

    Numbers are not touched. The exact texts are in Parquet and JSON exports.

    Args:
        rows: Numbers and texts.
        path: The file.
    """
    texts = {name: rows[name].map(_cell) for name in rows.columns if not pd.api.types.is_numeric_dtype(rows[name])}
    rows.assign(**texts).to_csv(path, index=False)


def _cell(value: Any) -> Any:
    return spreadsheet(value) if isinstance(value, str) else value
