"""Files of sweeps and running trials: can status, resume and cancel read each of them?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import TypeAdapter

from harness.machine import code_digest
from harness.machine.measure import COMMIT_FILE
from harness.store.reading import BrokenFile, contents, reason_of
from harness.store.store import Store
from harness.store.sweep_files import BEAT, JOBS, PACKS, SWEEP, BrokenSweepFileError, read

T = TypeVar("T")
CODE = "code"
DIGITS = 12  # of the name of a snapshot


def check_sweep(store: Store, path: Path) -> Iterator[BrokenFile]:
    """The trials of a sweep."""
    found = _read(path, SWEEP)
    yield from found.problems
    if found.content is not None and found.content["name"] != path.parent.name:
        yield BrokenFile(path, f"its name {found.content['name']!r} is not the folder's name")


def check_packs(store: Store, path: Path) -> Iterator[BrokenFile]:
    """What a submission holds."""
    yield from _read(path, PACKS).problems


def check_jobs(store: Store, path: Path) -> Iterator[BrokenFile]:
    """What a submission started."""
    yield from _read(path, JOBS).problems


def check_beat(store: Store, path: Path) -> Iterator[BrokenFile]:
    """The last sign of life of a trial."""
    yield from _read(path, BEAT).problems


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


class _Found(NamedTuple, Generic[T]):
    """What a file holds, None where something is wrong with it."""

    content: T | None
    problems: list[BrokenFile]


def _read(path: Path, kind: TypeAdapter[T]) -> _Found[T]:
    """A file as those who use it read it."""
    try:
        return _Found(read(path, kind), [])
    except FileNotFoundError as error:
        return _Found(None, [BrokenFile(path, f"not readable: {reason_of(error)}")])
    except BrokenSweepFileError as error:
        return _Found(None, [BrokenFile(path, error.reason)])
