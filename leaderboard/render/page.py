"""One self-contained HTML page to explore records: works from a file, without network."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs

from harness.leaderboard import text

FIELDS = (
    "id", "status", "model", "bits", "stack", "calib", "seed", "top1", "top1_fp32", "top5", "agreement", "logit_sqnr_db",
    "n_images", "n_correct", "protocol", "on_grid", "size_bytes", "bit_operations", "seconds_stack", "seconds_evaluate",
    "forward_passes", "peak_memory_bytes", "data", "eval_limit", "methods", "error_kind", "error_message", "device",
    "commit", "created", "coverage", "command", "stages", "calib_source",
)  # fmt: skip


def page(rows: pd.DataFrame, title: str = "Quantization records") -> str:
    """The page.

    Args:
        rows: One row per record, as ``harness.store.table.table`` makes it.
        title: Heading.
    """
    records = [
        {name: _plain(value) for name, value in zip(FIELDS, values, strict=True)}
        for values in rows[list(FIELDS)].itertuples(index=False, name=None)
    ]
    for record in records:
        record["stages"] = json.loads(record["stages"] or "[]")
    parts = {
        "title": text.html(title),
        "style": _asset("page.css"),
        "script": _asset("page.js"),
        "plotly": get_plotlyjs(),
        "records": embedded_json(records),
    }
    pieces = _asset("page.html").split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)


def embedded_json(value: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    written = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("\u2028", "\\u2028")


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value


def _asset(name: str) -> str:
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")
