"""Is it the disk? What a failed write is called, and what to say of it."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO})
DENIED = frozenset({errno.EACCES, errno.EPERM})
_SAFETENSORS = re.compile(r"os error (\d+)")  # its own class, without a number: "I/O error: No space left ... (os error 28)"


def error_number(error: BaseException) -> int:
    """The system's number of an error, also where a library has put it into its text; 0 where there is none."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = _SAFETENSORS.search(str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(found[1]) if found else 0


def is_disk_error(error: BaseException, root: Path | None = None) -> bool:
    """Whether a disk is full, read-only or broken.

    Args:
        error: What was raised.
        root: A folder in which a refused permission counts too; elsewhere it may be about a file that is only read.
    """
    number = error_number(error)
    if number in FULL:
        return True
    place = getattr(error, "filename", None)
    inside = root is not None and isinstance(place, str) and Path(place).absolute().is_relative_to(root.absolute())
    return number in DENIED and inside


def explained(error: BaseException) -> str:
    """An error of the system in one line: what it is about, what is wrong, and what helps."""
    number = error_number(error)
    place = getattr(error, "filename", None)
    reason = getattr(error, "strerror", None) or (os.strerror(number) if number else str(error) or type(error).__name__)
    text = f"{os.fsdecode(place)!r}: {reason}" if isinstance(place, (str, bytes)) else reason
    hint = _HINTS.get(number, "")
    return f"{text} ({hint})" if hint else text


_SPACE = "free some space, or give a folder on another disk"
_HINTS = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: _SPACE,
    errno.EROFS: "give a folder that can be written to",
    errno.EACCES: "give a place that you may read and write",
    errno.EPERM: "give a place that you may read and write",
    errno.ENAMETOOLONG: "expected a shorter path",
    errno.EEXIST: "expected a folder, this is a file",
    errno.ENOTDIR: "expected a folder, a part of this path is a file",
    errno.EISDIR: "expected a file, this is a folder",
}
