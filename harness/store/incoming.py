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
from harness.store.latencies import latencies_of
from harness.store.parquet_file import read_parquet
from harness.store.reading import BrokenFile, contents, reason_of
from harness.store.store import Store
from harness.trial.latency import Latency, digest_of
from harness.trial.latency_check import NotALatencyError, parse_latency
from harness.trial.record import Record
from harness.trial.record_check import NotARecordError, parse_record

# Columns of a full export: the whole record as JSON, its per-image results as base64, its measurements of latency as JSON.
FULL = "record"
CORRECT = "correct"
LATENCY = "latency"
BESIDE = (FULL, CORRECT, LATENCY)
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
    """A checked record with what lies beside it.

    Attributes:
        record: The record.
        correct: Content of its ``correct.npy``; None where there is none.
        latencies: Its measurements, and what is in their place and is none.
    """

    record: Record
    correct: bytes | None
    latencies: tuple[Latency | BrokenFile, ...] = ()


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
    for number, (text, encoded, timed) in enumerate(_rows(source), start=1):
        place = Path(f"{source}, row {number}")
        found = _of_row(text, encoded, place)
        yield found if isinstance(found, BrokenFile) else found._replace(latencies=_timed(timed, found.record, place))


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
        fitting = _fitting(found, correct, path)
        timed = tuple(latencies_of(store, found["id"]))
        yield fitting if isinstance(fitting, BrokenFile) else fitting._replace(latencies=timed)


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


def _timed(given: Any, record: Record, place: Path) -> tuple[Latency | BrokenFile, ...]:
    """The measurements in a row: an object of JSON texts by their hashes; what is none, or was changed, is said."""
    try:
        found = from_json(given) if isinstance(given, str) and given else given or {}
    except ValueError as error:
        return (BrokenFile(place, f"its latencies are not readable as JSON: {error}"),)
    if not isinstance(found, Mapping):
        return (BrokenFile(place, "its latencies are no object"),)
    return tuple(_one_timed(str(name), text, record["id"], place) for name, text in found.items())


def _one_timed(name: str, content: Any, trial: str, place: Path) -> Latency | BrokenFile:
    try:
        found = parse_latency(json.dumps(content))
    except (NotALatencyError, RecursionError) as error:
        return BrokenFile(place, f"latency {name!r}: {error}")
    if found["trial"] != trial or digest_of(found) != name:
        return BrokenFile(place, f"latency {name!r}: it is of another trial, or was changed")
    return found


def _fitting(record: Record, correct: bytes | None, place: Path) -> Incoming | BrokenFile:
    """A record whose per-image results count what it says, or none."""
    if correct is None or record["status"] != "done":
        return Incoming(record, None)
    try:
        check_counts(unpacked(correct, record["metrics"]["n_images"]), record)
    except BitmapError as error:
        return BrokenFile(place, f"its per-image results do not fit: {error}")
    return Incoming(record, correct)


def _rows(source: Path) -> list[tuple[Any, Any, Any]]:
    """Text of the record, encoded per-image results and measurements of every row of a file."""
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
        nothing = [None] * len(records or [])
        beside = columns.get(CORRECT, nothing), columns.get(LATENCY, nothing)
        found = list(zip(records or [], *beside, strict=True))
    except UNREADABLE as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        lines = reason.splitlines() or [type(error).__name__]
        raise UsageError(f"{str(source)!r} cannot be read: {lines[0]}") from error
    if records is None:
        raise UsageError(f"{str(source)!r} has no column {FULL!r}", "export it with: harness store export --full")
    return found


def _wanted(name: str) -> bool:
    return name in BESIDE


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
    return {name: [row.get(name) for row in rows] for name in BESIDE if any(name in row for row in rows)}


READERS: dict[str, Callable[[Path], dict[str, list[Any]]]] = {
    "csv": _of_csv,
    "parquet": lambda source: _columns(read_parquet(source)),
    "json": _of_json,
}
