"""Records that come from elsewhere: another group's store, or a file that ``harness store export --full`` wrote."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from pyarrow import ArrowException
from pydantic_core import from_json

from harness.errors import UsageError, nearest
from harness.store.bitmap import BitmapError, check_counts, unpacked
from harness.store.parquet_file import read_parquet
from harness.store.reading import BrokenFile, contents, reason_of
from harness.store.store import Store
from harness.trial.record import Record
from harness.trial.record_check import NotARecordError, parse_record

FULL = "record"  # columns of a full export: the whole record as JSON, its per-image results as base64
CORRECT = "correct"
MOST_BYTES = 2**33  # of an exported file
MOST_COLUMNS = 1000
MOST_HEADER = 2**16  # characters of its first line
# What a truncated or foreign table makes its reader raise.
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    OverflowError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    ArrowException,
)


class Incoming(NamedTuple):
    """A checked record with the content of its ``correct.npy``, None where there is none."""

    record: Record
    correct: bytes | None


def incoming(source: Path) -> Iterator[Incoming | BrokenFile]:
    """Everything in the place of a record, checked.

    Args:
        source: Folder of a store, or an exported file with the column ``record``.

    Raises:
        UsageError: The source is neither, or cannot be read.
    """
    if source.is_dir():
        yield from _of_store(source)
        return
    for number, (text, encoded) in enumerate(_rows(source), start=1):
        yield _of_row(text, encoded, Path(f"{source}, row {number}"))


def _of_store(source: Path) -> Iterator[Incoming | BrokenFile]:
    if not (source / "trials").is_dir():
        raise UsageError(f"{str(source)!r} is no store: it has no folder trials", "give the folder that --store names")
    store = Store(source)
    for found in store.everything():
        if isinstance(found, BrokenFile):
            yield found
            continue
        path = store.folder(found["id"]) / "correct.npy"
        try:
            correct = contents(path)
        except FileNotFoundError:
            correct = None
        except OSError as error:
            yield BrokenFile(path, f"not readable: {reason_of(error)}")
            continue
        yield _fitting(found, correct, path)


def _of_row(text: Any, encoded: Any, place: Path) -> Incoming | BrokenFile:
    """The record in a row of a table; JSON exports may have it as an object."""
    try:
        record = parse_record(json.dumps(text) if isinstance(text, dict) else str(text))
        correct = base64.b64decode(encoded, validate=True) if isinstance(encoded, str) and encoded else None
    except NotARecordError as error:
        return BrokenFile(place, str(error), error.schema)
    except ValueError as error:
        return BrokenFile(place, f"its per-image results are not base64: {error}")
    return _fitting(record, correct, place)


def _fitting(record: Record, correct: bytes | None, place: Path) -> Incoming | BrokenFile:
    """A record whose per-image results count what it says, or none."""
    if correct is None or record["status"] != "done":
        return Incoming(record, None)
    try:
        check_counts(unpacked(correct, record["metrics"]["n_images"]), record)
    except BitmapError as error:
        return BrokenFile(place, f"its per-image results do not fit: {error}")
    return Incoming(record, correct)


def _rows(source: Path) -> list[tuple[Any, Any]]:
    """Text of the record and encoded per-image results of every row of a file."""
    form = source.suffix.lstrip(".")
    if form not in READERS:
        raise UsageError(
            f"{str(source)!r}: expected a store's folder or a .csv, .parquet or .json file.{nearest(form, READERS)}"
        )
    try:
        if source.exists() and not source.is_file():
            raise OSError("it is a pipe or device, expected a file")
        columns = READERS[form](source)
        records = columns.get(FULL)
        pairs = [] if records is None else list(zip(records, columns.get(CORRECT, [None] * len(records)), strict=True))
    except UNREADABLE as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        lines = reason.splitlines() or [type(error).__name__]
        raise UsageError(f"{str(source)!r} cannot be read: {lines[0]}") from error
    if records is None:
        raise UsageError(f"{str(source)!r} has no column {FULL!r}", "export it with: harness store export --full")
    return pairs


def _wanted(name: str) -> bool:
    return name in (FULL, CORRECT)


def _columns(frame: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(name): frame[name].to_list() for name in frame.columns if _wanted(str(name))}


def _of_csv(source: Path) -> dict[str, list[Any]]:
    with source.open(encoding="utf-8", newline="") as file:
        columns = file.readline(MOST_HEADER + 1).count(",") + 1
    if columns > MOST_COLUMNS:
        raise ValueError(f"its first line has {columns:,} columns or more, expected at most {MOST_COLUMNS:,}")
    return _columns(pd.read_csv(source, usecols=_wanted, dtype=str, keep_default_na=False))


def _of_json(source: Path) -> dict[str, list[Any]]:
    """The columns of a list of objects."""
    rows = from_json(contents(source, MOST_BYTES), allow_inf_nan=False)
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError("expected a list of objects")
    return {name: [row.get(name) for row in rows] for name in (FULL, CORRECT) if any(name in row for row in rows)}


READERS: dict[str, Callable[[Path], dict[str, list[Any]]]] = {
    "csv": _of_csv,
    "parquet": lambda source: _columns(read_parquet(source)),
    "json": _of_json,
}
