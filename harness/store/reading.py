"""Reading files that anything may have happened to: a record, or a reason why there is none."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from harness.trial.record import Record

ABOUT = "about"  # name of the facts in the header of a file of tensors
MOST_BYTES = 64 * 2**20  # of a record; the largest seen has 60 KB


@dataclass(frozen=True)
class BrokenFile:
    """A file of the store that is not what it should be, and why.

    Attributes:
        path: The file.
        reason: One line.
        schema: The version of a record of another schema; None for everything else.
        stays: It is no reason to move the file away.
    """

    path: Path
    reason: str
    schema: int | None = None
    stays: bool = False


def contents(path: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file.

    Raises:
        FileNotFoundError: Nothing is there.
        OSError: It is a folder, a pipe or a link in a circle, larger than ``most`` bytes, or cannot be read.
    """
    size = size_of(path)
    if size > most:
        raise OSError(f"it has {size:,} bytes, expected at most {most:,}")
    return path.read_bytes()


def size_of(path: Path) -> int:
    """Bytes of a regular file. Asked before a file is opened: who opens a pipe waits.

    Raises:
        OSError: It is no regular file, or there is none.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"it is {kind_of(found.st_mode)}, expected a file")
    return found.st_size


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def kind_of(mode: int) -> str:
    """What stands in the place of a file, for messages."""
    return "a folder" if stat.S_ISDIR(mode) else "a pipe or device"


def reason_of(error: OSError) -> str:
    """Why the system refused, without the path, which stands beside it."""
    return error.strerror or str(error)


def read_record(path: Path) -> Record | BrokenFile | None:
    """The record in a trial's file; None when there is no file."""
    found = read_any_record(path)
    if isinstance(found, BrokenFile) or found is None:
        return found
    trial = found["id"]
    if trial != path.parent.name:
        return BrokenFile(path, f"its id {trial} is not the folder's name")
    if trial[:2] != path.parent.parent.name:
        return BrokenFile(path, f"its folder is below {path.parent.parent.name!r}, expected {trial[:2]!r}")
    return found


def read_any_record(path: Path) -> Record | BrokenFile | None:
    """The record in a file, whatever its folder is called; None when there is no file."""
    from harness.trial.record_check import NotARecordError, parse_record  # pydantic, which verbs without records do without

    try:
        return parse_record(contents(path))
    except FileNotFoundError:
        return BrokenFile(path, "it is a link to nothing") if path.is_symlink() else None
    except OSError as error:
        return BrokenFile(path, f"not readable: {reason_of(error)}")
    except NotARecordError as error:
        return BrokenFile(path, str(error), error.schema)
