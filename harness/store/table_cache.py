"""``results.parquet``: one row per record, so that a report over many records need not parse every file again.

A cache only: each row carries the stamp (time and size) of the file it was read from, and is read again when the stamp
differs. Deleting the file loses nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from pyarrow import ArrowException

from harness.machine.progress import Progress
from harness.store.store import BrokenFile, Store, read_record, write_aside
from harness.store.table import COLUMNS, table
from harness.trial.record import Record

log = logging.getLogger(__name__)

NAME = "results.parquet"
STAMP = "file_stamp"


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
    folders = {folder.name: folder for folder in store.trial_folders()}
    stamps = dict(_stamps(folders))
    known = {} if cached is None else dict(zip(cached["id"], cached[STAMP], strict=True))
    changed = [trial for trial, stamp in stamps.items() if known.get(trial) != stamp]
    broken: list[BrokenFile] = []
    fresh = table(_read([folders[trial] for trial in changed], broken, progress or Progress()))
    if cached is not None and not len(fresh) and len(stamps) - len(broken) == len(cached):
        return Rows(cached[list(COLUMNS)], broken)
    fresh[STAMP] = pd.array([stamps[trial] for trial in fresh["id"]], dtype="string")
    if cached is not None:
        kept = cached[cached["id"].isin(set(stamps) - set(changed))]
        fresh = pd.concat([part for part in (kept, fresh) if len(part)]) if len(kept) or len(fresh) else fresh
    fresh = fresh.sort_values("id", ignore_index=True)
    if rebuild:
        _write(store, fresh)
    elif store.root.is_dir() and os.access(store.root, os.W_OK):
        _keep(store, fresh)
    return Rows(fresh[list(COLUMNS)], broken)


def path_of(store: Store) -> Path:
    """Where the cache is."""
    return store.root / NAME


def _keep(store: Store, fresh: pd.DataFrame) -> None:
    """Write the cache; where that is not possible a warning says so, for a report can do without."""
    try:
        _write(store, fresh)
    except (OSError, ArrowException) as error:
        log.warning("%s is not written: %s", path_of(store), error)


def _write(store: Store, fresh: pd.DataFrame) -> None:
    write_aside(path_of(store), lambda path: fresh.to_parquet(path, index=False))


def _cached(store: Store) -> pd.DataFrame | None:
    """The cache when it is there, readable and of this version's columns."""
    try:
        cached = pd.read_parquet(path_of(store))
    except (OSError, ValueError, ArrowException):
        return None
    return cached if list(cached.columns) == [*COLUMNS, STAMP] else None


def _stamps(folders: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Id and stamp of every record file."""
    for name, folder in folders.items():
        try:
            found = os.stat(folder / "record.json")
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
