"""Exports of a store, and merging the records of another group: nothing of one's own is ever overwritten."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from harness.errors import UsageError
from harness.store.csv_file import write_csv
from harness.store.incoming import CORRECT, FULL, LATENCY, Incoming, incoming
from harness.store.inside import inside
from harness.store.latencies import latencies_of, latency_path, save_latency
from harness.store.parquet_file import write_parquet
from harness.store.reading import BrokenFile, contents
from harness.store.store import Store, write_aside, write_json
from harness.store.table import origin_of, table
from harness.trial.latency import digest_of, of_trial
from harness.trial.migration import to_identity
from harness.trial.portable import portable
from harness.trial.record import Record

FORMATS = ("csv", "parquet", "json")
Blocks = Callable[[str], str]


@dataclass
class Merged:
    """What became of another store's records.

    Attributes:
        added: Trials that this store did not have.
        replicas: Kept beside an own record of the same trial.
        known: Were here already, with the same content.
        migrated: Of these, how many got the id that their trial has today.
        refused: Not records, or not measurements of latency; with reasons.
        latencies: Measurements of latency that this store did not have.
    """

    added: int
    replicas: int
    known: int
    migrated: int
    refused: list[BrokenFile]
    latencies: int = 0


def export(
    store: Store,
    path: Path,
    form: str,
    *,
    full: bool = False,
    public: bool = False,
    wanted: Callable[[Record], bool] = lambda _: True,
) -> int:
    """Write one row per record.

    Args:
        store: Where the records are.
        path: Output file.
        form: ``csv``, ``parquet`` or ``json`` (a list of objects).
        full: Add the whole record, its per-image results and its measurements of latency, which ``import`` reads.
        public: Without the paths of this machine.
        wanted: Which records.

    Returns:
        Number of rows.

    Raises:
        UsageError: The file cannot be written.
    """
    rows = rows_of(store, wanted, full=full, public=public)
    writers = {
        "csv": lambda target: write_csv(rows, target),
        "parquet": lambda target: write_parquet(target, rows),
        "json": lambda target: rows.to_json(target, orient="records", indent=1, double_precision=15),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_aside(path, writers[form])
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be written: {error.strerror or error}") from error
    return len(rows)


def rows_of(store: Store, wanted: Callable[[Record], bool], *, full: bool, public: bool) -> pd.DataFrame:
    """One row per record; ``full``: with the whole record as JSON, per-image results as base64 and latencies as JSON."""
    written = portable if public else _unchanged
    rows = table(written(record) for record in store.records() if wanted(record))
    if full:
        found = map(store.stored, rows["id"])
        rows[FULL] = [json.dumps(written(record)) for record in found if record is not None]
        rows[CORRECT] = [_encoded(store.folder(trial) / "correct.npy") for trial in rows["id"]]
        timed = [_latencies(store, trial) for trial in rows["id"]]
        if any(timed):  # most stores have none, and then their exports are as they were
            rows[LATENCY] = timed
    return rows


def _unchanged(record: Record) -> Record:
    return record


def merge(store: Store, source: Path, origin: str | None, blocks: Blocks | None = None) -> Merged:
    """Take over the records of another store or of a full export.

    Args:
        store: The own store.
        source: Folder of a store, or an exported file with the column ``record``.
        origin: Who they come from; kept in each record with the source's name and the time. None for one's own records,
            which come back as they were.
        blocks: Today's pattern of blocks of a network, by its name: records whose identity is of an earlier version get the
            id of today. None leaves them as they are.

    Raises:
        UsageError: The source cannot be read.
    """
    merged = Merged(0, 0, 0, 0, [])
    store.check_writable()
    for one in incoming(source):
        if isinstance(one, BrokenFile):
            merged.refused.append(one)
            continue
        record = one.record if blocks is None else to_identity(one.record, blocks)
        merged.migrated += record["id"] != one.record["id"]
        marked = record if origin is None else _marked(record, source.name, origin)
        try:
            _take(store, Incoming(marked, one.correct), merged)
            _take_latencies(store, record["id"], one, merged)
        except UsageError as error:  # its folder, or one in it, is a link
            merged.refused.append(BrokenFile(store.folder(record["id"]), str(error)))
    return merged


def _marked(record: Record, file: str, origin: str) -> Record:
    """A record with its origin; where it came from before stays."""
    mark = {"from": origin, "file": file, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    before = origin_of(record)
    return {**record, "imported": mark if before is None else {**mark, "before": before}}


def _take(store: Store, one: Incoming, merged: Merged) -> None:
    """Add a record that was checked: its id has the form of an id, so its folder lies in the store."""
    record = one.record
    folder = store.folder(record["id"])
    store.make_way(record["id"])
    own = store.stored(record["id"])
    replica = folder / "replicas" / f"{_digest(record)}.json"
    if replica.exists() or (own is not None and _digest(own) == _digest(record)):
        merged.known += 1
    elif own is not None:
        inside(store.root, replica.parent).mkdir(parents=True, exist_ok=True)
        write_json(replica, record)
        merged.replicas += 1
    else:
        folder.mkdir(parents=True, exist_ok=True)
        if one.correct is not None:
            content = one.correct
            write_aside(folder / "correct.npy", lambda target: target.write_bytes(content))
        write_json(folder / "record.json", record)
        merged.added += 1


def _take_latencies(store: Store, trial: str, one: Incoming, merged: Merged) -> None:
    """Add the measurements that are not here yet; they are of machines, whoever's record the trial has here."""
    for latency in one.latencies:
        if isinstance(latency, BrokenFile):
            merged.refused.append(latency)
            continue
        mine = of_trial(latency, trial)
        before = os.path.lexists(latency_path(store, mine))
        merged.latencies += not before
        if not before:
            save_latency(store, mine)


def _latencies(store: Store, trial: str) -> str:
    """A trial's measurements by their hashes as JSON; empty where there are none. Broken ones stay out: check names them."""
    found = [one for one in latencies_of(store, trial) if not isinstance(one, BrokenFile)]
    return json.dumps({digest_of(one): one for one in found}) if found else ""


def _digest(record: Record) -> str:
    """Hash of a record's content, whether it was imported or not."""
    content = {name: value for name, value in record.items() if name != "imported"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _encoded(path: Path) -> str:
    try:
        return base64.b64encode(contents(path)).decode()
    except OSError:  # most often there is none; harness store check names the others
        return ""
