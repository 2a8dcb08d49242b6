"""Giving the records of a store, or of a full export, the ids that their trials have today."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import UsageError
from harness.store.aside import set_aside
from harness.store.exchange import Blocks, export, merge
from harness.store.inside import trial_inside
from harness.store.latencies import FOLDER as LATENCIES
from harness.store.latencies import read_latency, save_latency
from harness.store.reading import BrokenFile, read_any_record, reason_of
from harness.store.store import Store, write_json
from harness.trial.latency import of_trial
from harness.trial.migration import to_identity
from harness.trial.record import Record


@dataclass
class Migrated:
    """What became of the records.

    Attributes:
        records: All of them, as they are now.
        moved: How many got another id.
        refused: Not records, or in the way; with reasons.
    """

    records: list[Record] = field(default_factory=list)
    moved: int = 0
    refused: list[BrokenFile] = field(default_factory=list)


def migrate_file(path: Path, blocks: Blocks) -> Migrated:
    """Write a full export again, with records of today.

    Args:
        path: The file; it is replaced when all of it could be read.
        blocks: Today's pattern of blocks of a network, by its name.

    Raises:
        UsageError: It cannot be read or written, or holds something that is no record: then nothing is written.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        merged = merge(store, path, None, blocks)
        lost = [*merged.refused, *store.root.rglob("replicas/*.json")]
        if lost:
            raise UsageError(
                f"{str(path)!r} is left as it is: {len(lost)} of its rows are no records, or two of the same trial",
                f"harness store import {path} names them",
            )
        export(store, path, path.suffix.lstrip("."), full=True)
        return Migrated(list(store.records()), merged.migrated)


def migrate_store(store: Store, blocks: Blocks) -> Migrated:
    """Move every trial whose record has an earlier identity to the folder of its id of today.

    Where that trial has a record already, the earlier one goes to ``aside/``. A process that was killed in between can be
    followed by another: nothing is lost.

    Args:
        store: The store.
        blocks: As above.

    Raises:
        UsageError: Nothing can be written there.
    """
    store.check_writable()
    done = Migrated()
    for folder in list(store.trial_folders()):
        found = read_any_record(folder / "record.json")
        if isinstance(found, BrokenFile):
            done.refused.append(found)
        elif found is not None:
            _migrate(store, folder, found, blocks, done)
    return done


def _migrate(store: Store, folder: Path, found: Record, blocks: Blocks, done: Migrated) -> None:
    record = to_identity(found, blocks)
    target = store.folder(record["id"])
    if folder != target and folder.name != found["id"]:
        done.refused.append(BrokenFile(folder / "record.json", f"its id {found['id']} is not the folder's name"))
        return
    if record is found:
        done.records.append(record)
        return
    try:
        for place in (folder, target):
            trial_inside(store.root, place)
    except UsageError as error:
        done.refused.append(BrokenFile(folder, str(error)))
        return
    if folder != target and os.path.lexists(target / "record.json"):
        reason = f"trial {record['id']} has a record already"
        done.refused.append(BrokenFile(set_aside(store.root, BrokenFile(folder, reason)), reason))
        return
    _move(store, folder, target)
    for path in _others(target):
        other = read_any_record(path)
        if other is not None and not isinstance(other, BrokenFile):
            write_json(path, to_identity(other, blocks))
    _rename_latencies(store, record["id"])
    write_json(target / "record.json", record)
    done.records.append(record)
    done.moved += 1


def _move(store: Store, folder: Path, target: Path) -> None:
    """Rename a trial's folder; what a process without a record left at the target goes to ``aside/``."""
    if folder == target:  # a process was killed after it had renamed the folder
        return
    if os.path.lexists(target):
        set_aside(store.root, BrokenFile(target, f"has no record, and the folder of {folder.name} takes its place"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(folder, target)
    except OSError as error:
        raise UsageError(f"{folder} cannot become {target}: {reason_of(error)}") from error


def _rename_latencies(store: Store, trial: str) -> None:
    """Measurements of latency name their trial: they get its id of today, and with it another name."""
    for path in sorted((store.folder(trial) / LATENCIES).glob("*.json")):
        found = read_latency(path, any_trial=True)
        if not isinstance(found, BrokenFile) and found["trial"] != trial:
            save_latency(store, of_trial(found, trial))
            path.unlink()


def _others(folder: Path) -> Iterator[Path]:
    """Records beside the trial's own: earlier attempts and those of other groups."""
    yield from sorted([*folder.glob("attempts/*.json"), *folder.glob("replicas/*.json")])
