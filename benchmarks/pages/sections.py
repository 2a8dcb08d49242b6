"""The sections of README.md and docs that come from committed records and measurements, by name."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.pages import embedded, photographs
from benchmarks.pages.deployed import deployed
from benchmarks.pages.searches import ROOT, searches
from harness.leaderboard.board.boards import Board, boards
from harness.leaderboard.board.evidence import Evidence
from harness.store.exchange import merge
from harness.store.store import Store
from harness.store.table import table

RECORDS = ROOT / "leaderboard" / "results" / "records.parquet"
PHOTOGRAPHS = ROOT / "leaderboard" / "results" / "photographs" / "records.parquet"
PAGES = ("README.md", "docs/results.md", "docs/methods.md", "docs/deploy.md")
SECTION = re.compile(r"(<!-- (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def sections() -> dict[str, str]:
    """What stands between the lines, by name."""
    return {**_embedded(), **_photographs(), "searches": searches(), "deployed": deployed()}


def _embedded() -> dict[str, str]:
    with _boards(RECORDS) as (found, evidence):
        return {
            "accuracies": embedded.accuracies(found),
            "steps": embedded.steps(found, evidence),
            "findings": embedded.sentence(found, evidence),
        }


def _photographs() -> dict[str, str]:
    with _boards(PHOTOGRAPHS) as (found, evidence):
        return {
            "photographs": photographs.accuracies(found),
            "photographs-full-precision": photographs.full_precision(found),
            "photographs-steps": photographs.steps(found, evidence),
            "neighbours": photographs.neighbours(found, evidence),
            "published-order": photographs.published_order(found, evidence),
        }


@contextmanager
def _boards(records: Path) -> Iterator[tuple[list[Board], Evidence]]:
    """The boards of a file of records, and what they are judged by."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        merge(store, records, None)
        rows = table(store.records())
        evidence = Evidence(store, rows)
        yield boards(rows, evidence), evidence


def written(text: str, known: dict[str, str]) -> str:
    """A page with its sections as the records give them.

    Raises:
        KeyError: It has a section of a name that nobody knows.
    """
    return SECTION.sub(lambda match: f"{match[1]}{known[match['name']]}\n{match[3]}", text)
