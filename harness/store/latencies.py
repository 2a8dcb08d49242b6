"""Measurements of latency in a store: ``trials/<2 digits>/<id>/latency/<digest>.json``, one file each, never changed.

The name of a file is the hash of its content, so the same measurement is there once however often it comes in.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.store.inside import inside, trial_inside
from harness.store.reading import BrokenFile, contents, reason_of
from harness.store.store import Store, write_json
from harness.trial.latency import Latency, digest_of
from harness.trial.latency_check import NotALatencyError, parse_latency

FOLDER = "latency"
MOST_BYTES = 2**20  # of a measurement; one with ten batch sizes has 4 KB
MOST_FILES = 10_000  # of a trial: more are somebody's mistake


def save_latency(store: Store, measurement: Latency) -> Path:
    """Write a measurement beside the record of its trial.

    Returns:
        Path of the file.

    Raises:
        UsageError: Its trial is no id, or the trial's folder, or the one of its measurements, is a link.
        OSError: It cannot be written.
    """
    path = latency_path(store, measurement)
    trial_inside(store.root, path.parent.parent)
    inside(store.root, path.parent).mkdir(parents=True, exist_ok=True)
    write_json(path, measurement)
    return path


def latency_path(store: Store, measurement: Latency) -> Path:
    """The place of a measurement.

    Raises:
        UsageError: Its trial is no id.
    """
    return store.folder(measurement["trial"]) / FOLDER / f"{digest_of(measurement)}.json"


def read_latency(path: Path, *, any_trial: bool = False) -> Latency | BrokenFile:
    """The measurement in a file of a store; what is none, or not of this trial, or was changed, is said.

    No link is followed: nobody needs one here, and it may lead anywhere.

    Args:
        path: The file.
        any_trial: It may be of another trial than its folder: ids are about to change.
    """
    if path.is_symlink():
        return BrokenFile(path, f"it is a link to {os.readlink(path)}, expected a file")
    try:
        found = parse_latency(contents(path, MOST_BYTES))
    except OSError as error:
        return BrokenFile(path, f"not readable: {reason_of(error)}")
    except NotALatencyError as error:
        return BrokenFile(path, str(error), error.schema)
    if found["trial"] != path.parent.parent.name and not any_trial:
        return BrokenFile(path, f"it is of trial {found['trial']}, expected that of its folder")
    if f"{digest_of(found)}.json" != path.name:
        return BrokenFile(path, "its name is not the hash of its content: it was changed")
    return found


def latencies_of(store: Store, trial: str) -> Iterator[Latency | BrokenFile]:
    """All measurements of a trial, by name; files in their place that are none, with the reason.

    Raises:
        UsageError: It is no id.
    """
    folder = store.folder(trial) / FOLDER
    try:
        if stat.S_ISLNK(os.lstat(folder).st_mode):  # asked once: most trials have no such folder, and there may be many
            yield BrokenFile(folder, f"it is a link to {os.readlink(folder)}, expected a folder")
            return
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".json") and entry.name[0] != ".")
    except FileNotFoundError:
        return
    except OSError as error:
        yield BrokenFile(folder, f"not readable: {reason_of(error)}")
        return
    for name in names[:MOST_FILES]:
        yield read_latency(folder / name)


def all_latencies(store: Store, trials: Iterable[str]) -> tuple[dict[str, list[Latency]], list[BrokenFile]]:
    """The measurements of some trials by id, and what lies in their place and is none.

    Args:
        store: Where they are.
        trials: Ids.
    """
    found: dict[str, list[Latency]] = {}
    broken: list[BrokenFile] = []
    for trial in trials:
        for one in latencies_of(store, trial):
            if isinstance(one, BrokenFile):
                broken.append(one)
            else:
                found.setdefault(trial, []).append(one)
    return found, broken


def check_latency(store: Store, path: Path) -> Iterator[BrokenFile]:
    """What is wrong with a file in the place of a measurement."""
    found = read_latency(path)
    if isinstance(found, BrokenFile):
        yield found
