"""The leaderboard as one HTML page: it works from a file, without network, and nothing that a name contains can run."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.leaderboard import text
from harness.leaderboard.board.altered import SIGN, altered_note
from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.published.numbers import compare
from harness.leaderboard.render.page_catalog import Catalog
from harness.leaderboard.render.page_fronts import fronts
from harness.leaderboard.render.page_lists import Lists
from harness.leaderboard.render.page_published import published, published_runtimes
from harness.leaderboard.render.page_records import columns
from harness.text import inert

ASSETS = Path(__file__).parent / "assets"
# In the order in which they stand in the page: later ones use earlier ones.
SCRIPTS: tuple[str, ...] = (
    "dom", "numbers", "state", "data", "table", "choices", "board", "marks", "labels", "picture", "pareto", "ladder", "heat",
    "methods", "networks", "records", "details", "main",
)  # fmt: skip
DIGITS = 7


def page(rows: pd.DataFrame, found: Sequence[Board], evidence: Evidence, title: str = "Quantization leaderboard") -> str:
    """The page.

    Args:
        rows: One row per record, as ``harness.store.table.table`` makes it.
        found: The boards of these rows.
        evidence: Per-image results.
        title: Heading.
    """
    style, script = _asset("page.css"), "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    parts = {
        "title": text.html(title),
        "policy": f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'",
        "style": style,
        "boards": packed(_boards(rows, found, evidence)),
        "records": packed(columns(rows)),
        "script": script,
    }
    pieces = _asset("page.html").split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)


def _boards(rows: pd.DataFrame, found: Sequence[Board], evidence: Evidence) -> dict[str, Any]:
    catalog = Catalog()
    numbers, by_cell = published(compare(found))
    lists = Lists(rows, evidence, catalog, by_cell)
    made = {
        "lists": [one for board in found for one in lists.of(board)],
        "fronts": list(fronts(found, evidence, catalog)),
        "published": numbers,
        "latency": evidence.latencies.note(),
        "runtimes": published_runtimes({network.published.name for network in catalog.networks.items}),
        "records": len(rows),
        "done": int((rows["status"] == "done").sum()),
        "newest": max(map(str, rows["created"].dropna()), default=""),
    }
    note = altered_note(rows["altered"].dropna())
    return {**made, **({"altered": {"sign": SIGN, "note": note}} if note else {}), **catalog.plain()}


def packed(value: Any) -> str:
    """JSON, compressed, in base64: small, and no character of it can end the element that it stands in.

    Text has no control characters and no invisible ones; numbers have seven significant digits.
    """
    written = json.dumps(_compact(value), separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(written.encode("ascii"), mtime=0)).decode("ascii")


def _compact(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, str):
        return inert(value)
    if isinstance(value, dict):
        return {name: _compact(part) for name, part in value.items()}
    return [_compact(part) for part in value] if isinstance(value, list | tuple) else value


def _hash(content: str) -> str:
    """As a content security policy names an element: what has another content does not run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
