"""Exports of a store, and merging the records of another group: nothing of one's own is ever overwritten."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import UsageError, nearest
from harness.store.csv_file import write_csv
from harness.store.store import BrokenFile, Store, write_aside, write_json
from harness.store.table import table
from harness.trial.record import Record
from harness.trial.record_check import NotARecordError, parse_record

FORMATS = ("csv", "parquet", "json")
FULL = "record"  # extra columns of a full export: the whole record as JSON, its per-image results as base64
CORRECT = "correct"


@dataclass
class Merged:
    """What became of another store's records.

    Attributes:
        added: Trials that this store did not have.
        replicas: Kept beside an own record of the same trial.
        known: Were here already, with the same content.
        refused: Not records; with reasons.
    """

    added: int
    replicas: int
    known: int
    refused: list[BrokenFile]


def export(store: Store, path: Path, form: str, *, full: bool = False) -> int:
    """Write one row per record.

    Args:
        store: Where the records are.
        path: Output file.
        form: ``csv``, ``parquet`` or ``json`` (a list of objects).
        full: Add the whole record and its per-image results, which ``import`` reads.

    Returns:
        Number of rows.

    Raises:
        UsageError: The file cannot be written.
    """
    rows = table(store.records())
    if full:
        rows[FULL] = [json.dumps(store.get(trial)) for trial in rows["id"]]
        rows[CORRECT] = [_encoded(store.folder(trial) / "correct.npy") for trial in rows["id"]]
    writers = {
        "csv": lambda target: write_csv(rows, target),
        "parquet": lambda target: rows.to_parquet(target, index=False),
        "json": lambda target: rows.to_json(target, orient="records", indent=1, double_precision=15),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_aside(path, writers[form])
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be written: {error.strerror or error}") from error
    return len(rows)


def merge(store: Store, source: Path, origin: str) -> Merged:
    """Take over the records of another store or of a full export.

    Args:
        store: The own store.
        source: Folder of a store, or an exported file with the column ``record``.
        origin: Who they come from; kept in each record.

    Raises:
        UsageError: The source cannot be read.
    """
    merged = Merged(0, 0, 0, [])
    store.check_writable()
    for content, correct in _incoming(source):
        if isinstance(content, BrokenFile):
            merged.refused.append(content)
        else:
            _take(store, content, correct, origin, merged)
    return merged


def _take(store: Store, record: Record, correct: bytes | None, origin: str, merged: Merged) -> None:
    """Add a record that was checked: its id has the form of an id, so its folder lies in the store."""
    folder = store.folder(record["id"])
    own = store.get(record["id"])
    marked = {**record, "imported": {"from": origin, "at": datetime.now(UTC).isoformat(timespec="seconds")}}
    replica = folder / "replicas" / f"{_digest(record)}.json"
    if replica.exists() or (own is not None and _digest(own) == _digest(record)):
        merged.known += 1
    elif own is not None or (folder / "record.json").exists():
        replica.parent.mkdir(parents=True, exist_ok=True)
        write_json(replica, marked)
        merged.replicas += 1
    else:
        folder.mkdir(parents=True, exist_ok=True)
        if correct:
            write_aside(folder / "correct.npy", lambda target: target.write_bytes(correct))
        write_json(folder / "record.json", marked)
        merged.added += 1


def _digest(record: Record) -> str:
    """Hash of a record's content, whether it was imported or not."""
    content = {name: value for name, value in record.items() if name != "imported"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _incoming(source: Path) -> Iterator[tuple[Record | BrokenFile, bytes | None]]:
    if source.is_dir():
        if not (source / "trials").is_dir():
            raise UsageError(f"{str(source)!r} is no store: it has no folder trials", "give the folder that --store names")
        for found in Store(source).everything():
            if isinstance(found, BrokenFile):
                yield found, None
            else:
                folder = Store(source).folder(found["id"])
                yield _writable(found, folder / "record.json"), _bytes_of(folder / "correct.npy")
        return
    for number, (text, encoded) in enumerate(_full_rows(source)):
        yield _parsed(text, Path(f"{source}, row {number + 1}")), _decoded(encoded)


def _bytes_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _encoded(path: Path) -> str:
    return base64.b64encode(_bytes_of(path) or b"").decode()


def _decoded(text: Any) -> bytes | None:
    """Per-image results from their base64 text; damaged ones are left out, and ``harness store check`` will say so."""
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except ValueError:
        return None


def _full_rows(source: Path) -> list[tuple[Any, Any]]:
    form = source.suffix.lstrip(".")
    if form not in FORMATS:
        raise UsageError(
            f"{str(source)!r}: expected a store's folder or a .csv, .parquet or .json file.{nearest(form, FORMATS)}"
        )
    try:
        readers: dict[str, Callable[[Path], pd.DataFrame]] = {
            "csv": pd.read_csv,
            "parquet": pd.read_parquet,
            "json": pd.read_json,
        }
        rows = readers[form](source)
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(source)!r} cannot be read: {str(error).splitlines()[0]}") from error
    if FULL not in rows:
        raise UsageError(f"{str(source)!r} has no column {FULL!r}", "export it with: harness store export --full")
    encoded = list(rows[CORRECT]) if CORRECT in rows else [None] * len(rows)
    return list(zip(rows[FULL], encoded, strict=True))


def _parsed(text: Any, place: Path) -> Record | BrokenFile:
    """The record in a cell of a table; pandas may have read it as an object already."""
    try:
        return _writable(parse_record(json.dumps(text) if isinstance(text, dict) else str(text)), place)
    except NotARecordError as error:
        return BrokenFile(place, str(error))


def _writable(record: Record, place: Path) -> Record | BrokenFile:
    """Refuse what could not be written again: 1e999 in the free parts of a record is read as infinity."""
    try:
        json.dumps(record, allow_nan=False)
    except ValueError:
        return BrokenFile(place, "holds a number that is not finite")
    return record
