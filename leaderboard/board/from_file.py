"""The leaderboards of one exported file of records, without a store of one's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.leaderboard.board.boards import Board, boards
from harness.leaderboard.board.evidence import Evidence
from harness.store.exchange import merge
from harness.store.store import Store
from harness.store.table import table


@contextmanager
def boards_of(records: Path) -> Iterator[tuple[list[Board], Evidence]]:
    """The boards of a file, and the per-image results that they are judged by, which are gone when the block ends.

    Args:
        records: A file that ``harness store export --full`` wrote.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        merge(store, records, None)
        rows = table(store.records())
        evidence = Evidence(store, rows)
        yield boards(rows, evidence), evidence
