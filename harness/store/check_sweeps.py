"""Files of sweeps and running trials: is each of the form that status, resume and cancel expect?"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NotRequired

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from harness.machine import code_digest
from harness.machine.measure import COMMIT_FILE
from harness.store.reading import BrokenFile, contents, reason_of
from harness.store.store import Store
from harness.trial.record import Count, Id
from harness.trial.record_check import worded

CODE = "code"
DIGITS = 12  # of the name of a snapshot
MOST_BYTES = 2**30  # of the file of a sweep


class PlannedTrial(TypedDict):
    """One trial of a sweep."""

    id: Id
    spec: dict[str, Any]
    skipped: bool


class SweepFile(TypedDict):
    """``sweep.json``."""

    format: Literal[1]
    name: str
    created: str
    launcher: dict[str, Any]
    trials: list[PlannedTrial]


class PacksFile(TypedDict):
    """``packs.json``."""

    packs: list[list[Id]]
    created: str
    launcher: NotRequired[dict[str, Any]]
    share: NotRequired[bool]
    fail_fast: NotRequired[bool]
    changes: NotRequired[dict[str, Any]]


class LocalLauncher(TypedDict):
    """The process of a local launcher."""

    host: str
    pid: Count
    started: float


class JobsFile(TypedDict):
    """``jobs.json``."""

    slurm: NotRequired[list[str]]
    local: NotRequired[LocalLauncher]


class BeatFile(TypedDict):
    """``heartbeat.json``."""

    host: str
    pid: Count
    started_process: float
    job: NotRequired[str]
    stage: NotRequired[str]
    step: NotRequired[float]
    steps: NotRequired[float]
    started: NotRequired[float]
    beat: NotRequired[float]
    interrupted: NotRequired[bool]


_STRICT = with_config(ConfigDict(strict=True, allow_inf_nan=False))
_SWEEP, _PACKS = TypeAdapter(_STRICT(SweepFile)), TypeAdapter(_STRICT(PacksFile))
_JOBS, _BEAT = TypeAdapter(_STRICT(JobsFile)), TypeAdapter(_STRICT(BeatFile))


def check_sweep(store: Store, path: Path) -> Iterator[BrokenFile]:
    """The trials of a sweep."""
    content, problems = _read(path, _SWEEP)
    yield from problems
    if not problems and content["name"] != path.parent.name:
        yield BrokenFile(path, f"its name {content['name']!r} is not the folder's name")


def check_packs(store: Store, path: Path) -> Iterator[BrokenFile]:
    """What a submission holds."""
    yield from _read(path, _PACKS)[1]


def check_jobs(store: Store, path: Path) -> Iterator[BrokenFile]:
    """What a submission started."""
    content, problems = _read(path, _JOBS)
    yield from problems
    if not problems and not {"slurm", "local"} & set(content):
        yield BrokenFile(path, "has neither jobs of SLURM nor a local launcher")


def check_beat(store: Store, path: Path) -> Iterator[BrokenFile]:
    """The last sign of life of a trial."""
    yield from _read(path, _BEAT)[1]


def check_sign(store: Store, path: Path) -> Iterator[BrokenFile]:
    """A file whose presence says something; a link may be anybody's."""
    if path.is_symlink():
        yield BrokenFile(path, f"is a link to {os.readlink(path)}, expected a file")


def check_code(store: Store, path: Path) -> Iterator[BrokenFile]:
    """A snapshot is called by the hash of its files, so any change of it shows."""
    if not path.is_dir():
        yield BrokenFile(path, "is a file, expected a folder with a copy of the package")
        return
    try:
        found = digest_of(path, len(path.name))
    except OSError as error:
        yield BrokenFile(path, f"not readable: {reason_of(error)}")
        return
    if found != path.name:
        yield BrokenFile(path, f"its files were changed: their hash is {found}, not its name")


def digest_of(folder: Path, digits: int = DIGITS) -> str:
    """The name that a snapshot with these files has.

    Args:
        folder: The snapshot.
        digits: Length of the name. Longer ones are hashes over kinds of files and links too.

    Raises:
        OSError: A file cannot be read.
    """
    return _of_files(folder)[:DIGITS] if digits == DIGITS else code_digest.digest_of(folder)[:digits]


def _of_files(folder: Path) -> str:
    """Hash over the names and contents of the package's files, without those that Python and a start of a sweep add."""
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if not path.is_dir() and "__pycache__" not in path.parts and path.name != COMMIT_FILE
    }
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\n".encode("utf-8", "surrogateescape") + hashlib.sha256(contents(files[name])).digest())
    return digest.hexdigest()


def _read(path: Path, adapter: TypeAdapter[Any]) -> tuple[Any, list[BrokenFile]]:
    try:
        content = json.loads(contents(path, MOST_BYTES))
    except OSError as error:
        return None, [BrokenFile(path, f"not readable: {reason_of(error)}")]
    except (ValueError, RecursionError) as error:
        return None, [BrokenFile(path, f"not readable as JSON: {error}")]
    try:
        adapter.validate_python(content)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
        more = f"; and {len(details) - 1} more" if len(details) > 1 else ""
        return content, [BrokenFile(path, worded(details[0]) + more)]
    return content, []
