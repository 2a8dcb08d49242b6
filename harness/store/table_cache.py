"""``results.parquet``: one row per record, so that a report over many records need not parse every file again.

A cache only: each row carries the stamp (time and size) of the file it was read from, and is read again when the stamp
differs. A file with rows that no record could have is made anew. Deleting the file loses nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from pyarrow import ArrowException

from harness.machine.disk import explained
from harness.machine.progress import Progress
from harness.store.parquet_file import read_parquet, write_parquet
from harness.store.reading import BrokenFile, read_record
from harness.store.store import Store, write_aside
from harness.store.table import COLUMNS, table, unfit
from harness.trial.record import Record

log = logging.getLogger(__name__)

NAME = "results.parquet"
STAMP = "file_stamp"
# What a truncated or foreign table makes its reader raise.
UNREADABLE = (OSError, ValueError, TypeError, KeyError, NotImplementedError, MemoryError, ArrowException)


class Rows(NamedTuple):
    """All records as rows, and the files that are no records."""

    table: pd.DataFrame
    broken: list[BrokenFile]


def rows(store: Store, progress: Progress | None = None, *, rebuild: bool = False) -> Rows:
    """Rows of all records, sorted by id; only files that changed since the last call are parsed.

    Args:
        store: The store.
        progress: Display.
        rebuild: Parse everything.

    Raises:
        OSError: ``rebuild`` cannot write the cache; otherwise a report does without.
    """
    cached = None if rebuild else _cached(store)
    found, broken = store.scan()
    folders = {folder.name: folder for folder in found}
    stamps = dict(_stamps(folders))
    known = {} if cached is None else dict(zip(cached["id"], cached[STAMP], strict=True))
    changed = [trial for trial, stamp in stamps.items() if known.get(trial) != stamp]
    closed = len(broken)
    fresh = table(_read([folders[trial] for trial in changed], broken, progress or Progress()))
    if cached is not None and not len(fresh) and len(stamps) - len(broken) + closed == len(cached):
        return Rows(cached[list(COLUMNS)], broken)
    fresh[STAMP] = pd.array([stamps[trial] for trial in fresh["id"]], dtype="string")
    if cached is not None:
        kept = cached[cached["id"].isin(set(stamps) - set(changed))]
        fresh = pd.concat([part for part in (kept, fresh) if len(part)]) if len(kept) or len(fresh) else fresh
    fresh = fresh.sort_values("id", ignore_index=True)
    if rebuild:
        _write(store, fresh)
    else:
        _keep(store, fresh)
    return Rows(fresh[list(COLUMNS)], broken)


def path_of(store: Store) -> Path:
    """Where the cache is."""
    return store.root / NAME


def check_cache(store: Store, path: Path) -> Iterator[BrokenFile]:
    """What is wrong with the file; an old one that reports bring up to date is right."""
    try:
        reason = _unfit(read_parquet(path))
    except UNREADABLE as error:
        reason = f"not readable: {(str(error).splitlines() or [type(error).__name__])[0]}"
    if reason:
        yield BrokenFile(path, f"{reason}; the next report makes it anew")


def _keep(store: Store, fresh: pd.DataFrame) -> None:
    """Write the cache, where there is a store and it can be written; reports do without."""
    if not (store.root / "trials").is_dir() or not os.access(store.root, os.W_OK):
        return
    try:
        _write(store, fresh)
    except (OSError, ArrowException) as error:
        log.warning("%s is not written: %s", path_of(store), explained(error))


def _write(store: Store, fresh: pd.DataFrame) -> None:
    write_aside(path_of(store), lambda path: write_parquet(path, fresh))


def _cached(store: Store) -> pd.DataFrame | None:
    """The cache when it is there, readable, of this version's columns, and has only rows that a record could have."""
    path = path_of(store)
    if not path.is_file():
        return None
    try:
        cached = read_parquet(path)
    except UNREADABLE:
        return None
    return None if _unfit(cached) else cached


def _unfit(cached: pd.DataFrame) -> str:
    """Why the rows of a file cannot be used; empty when they can."""
    if list(cached.columns) != [*COLUMNS, STAMP]:
        return "its columns are those of another version"
    if not pd.api.types.is_string_dtype(cached[STAMP].dtype):
        return f"its column {STAMP} is no text"
    return unfit(cached[list(COLUMNS)])


def _stamps(folders: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Id and stamp of every record file."""
    for name, folder in folders.items():
        try:
            found = os.lstat(folder / "record.json")
        except OSError:
            continue
        yield name, f"{found.st_mtime_ns}-{found.st_size}"


def _read(folders: list[Path], broken: list[BrokenFile], progress: Progress) -> Iterator[Record]:
    """The records in some trials' folders; files that are none go to ``broken``."""
    if not folders:
        return
    with progress.task("read records", len(folders)) as task:
        for folder in task.track(folders):
            found = read_record(folder / "record.json")
            if isinstance(found, BrokenFile):
                broken.append(found)
            elif found is not None:
                yield found
