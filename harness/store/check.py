"""Is every file of a store what it should be?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness.store.store import BrokenFile, Store
from harness.trial.record import Record
from harness.trial.record_check import NotARecordError, parse_record


def problems(store: Store) -> Iterator[BrokenFile]:
    """Everything that is wrong, by file: records, per-image results, replicas, attempts, sweeps, left-over files."""
    for found in store.everything():
        if isinstance(found, BrokenFile):
            yield found
        elif found["status"] == "done":
            yield from _bitmap(store, found)
    for path in sorted(store.root.glob("trials/*/*/*/*.json")):
        yield from _document(path)
    for path in sorted(store.root.glob("sweeps/*/sweep.json")):
        yield from _readable(path)
    for path in sorted(store.root.rglob(".*.*")):
        if path.is_file() and path.name.startswith((".record", ".correct", ".stages", ".state", ".heartbeat")):
            yield BrokenFile(path, "left over from a write that was interrupted; can be deleted")


def _bitmap(store: Store, record: Record) -> Iterator[BrokenFile]:
    path = store.folder(record["id"]) / "correct.npy"
    metrics = record["metrics"]
    if not path.is_file():
        if "imported" not in record:
            yield BrokenFile(path, "is missing")
        return
    try:
        counts = store.correct(record["id"]).sum(axis=1)
    except (OSError, ValueError, IndexError) as error:
        yield BrokenFile(path, f"not readable: {error}")
        return
    expected = [metrics["n_correct"], metrics.get("n_correct_fp32", counts[-1])]
    if not np.array_equal(counts, expected):
        yield BrokenFile(path, f"counts {counts.tolist()} right images, the record {expected}")


def _document(path: Path) -> Iterator[BrokenFile]:
    """A replica or an earlier attempt."""
    try:
        parse_record(path.read_bytes())
    except (OSError, NotARecordError) as error:
        yield BrokenFile(path, str(error))


def _readable(path: Path) -> Iterator[BrokenFile]:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        yield BrokenFile(path, f"not readable as JSON: {error}")
