"""The file names of a folder of images, kept from one opening to the next: a million files are not listed for every trial.

``$XDG_CACHE_HOME/ptq-harness/folder-index/`` has a file per folder. It can be deleted at any time. Of every class folder it
holds the names of the images with the folder's inode and times: whatever is added, removed or renamed in a folder changes
its times, and only then it is listed again. A folder that changed within the last ``SETTLED_SECONDS`` is not kept: it could
change again without another time. At every opening some files are looked for, which finds the index of another folder.

An index is not trusted: it holds no path, only names of files within class folders that are on the disk, and one that is
broken in any way is named and not used. Sizes, times and content of evaluation images are looked at in any case
(``harness/data/content.py``).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.data.content import SETTLED_SECONDS, cache_root, write_aside
from harness.data.names import SEPARATOR

log = logging.getLogger(__name__)
FORM = 1
MAX_BYTES = 2**31  # of an index: some 30 bytes a file
SAMPLE = 64  # files that are looked for at every opening


class State(NamedTuple):
    """What changes when an entry of a folder does: inode, and times of the last changes in nanoseconds."""

    inode: int
    modified: int
    changed: int


class Listed(NamedTuple):
    """The images of a class folder.

    Attributes:
        state: Of the folder, from before it was listed; None where it would not tell the next change.
        files: Their names, sorted, joined by ``SEPARATOR``.
    """

    state: State | None
    files: bytes


class FolderIndex:
    """What is kept of one folder.

    Args:
        folder: The folder of class folders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._place = str(folder.absolute())
        self._file = index_folder() / f"{hashlib.sha256(os.fsencode(self._place)).hexdigest()[:32]}.index"

    def read(self) -> dict[str, Listed]:
        """What is kept, by class folder; nothing where there is no index, or it is broken, foreign or of another form."""
        if not self._file.is_file():  # a pipe would be waited for
            return {}
        try:
            found = dict(self._entries())
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            log.warning("%s is not used: %s: %s", self._file, type(error).__name__, error)
            return {}
        return found if self._sampled(found) else {}

    def keep(self, known: Mapping[str, Listed], found: Mapping[str, Listed]) -> None:
        """Write what was found unless it is known; without the file the next opening takes longer."""
        kept = {name: one for name, one in found.items() if one.state is not None}
        if kept == known:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_aside(self._file, self._content(kept))
        except OSError as error:
            log.warning("the list of the images of %s is not kept: %s", self.folder, error)

    def _content(self, kept: Mapping[str, Listed]) -> bytes:
        """One line of JSON, then the names of the files."""
        body = b"".join(one.files for one in kept.values())
        rows = [[name, *(one.state or ()), len(one.files)] for name, one in kept.items()]
        head = {"form": FORM, "folder": self._place, "sha256": hashlib.sha256(body).hexdigest(), "classes": rows}
        return json.dumps(head).encode() + b"\n" + body

    def _entries(self) -> Iterator[tuple[str, Listed]]:
        """Read the file.

        Raises:
            ValueError: It is not what this version wrote for this folder.
        """
        if self._file.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        line, _, body = self._file.read_bytes().partition(b"\n")
        head: Any = json.loads(line)
        if head["form"] != FORM or head["folder"] != self._place:
            raise ValueError("it is of another form or another folder")
        if head["sha256"] != hashlib.sha256(body).hexdigest():
            raise ValueError("its content is not what was written")
        start = 0
        for name, inode, modified, changed, length in head["classes"]:
            files = body[start : start + int(length)]
            _check(str(name), files, int(length))
            start += int(length)
            yield str(name), Listed(State(int(inode), int(modified), int(changed)), files)
        if start != len(body):
            raise ValueError("it ends early or late")

    def _sampled(self, found: Mapping[str, Listed]) -> bool:
        """Whether the first files of some folders, evenly spaced, are there; a folder that changed tells nothing."""
        names = [name for name, one in found.items() if one.files]
        for name in names[:: max(1, len(names) // SAMPLE)]:
            place = self.folder / name
            first = os.fsdecode(found[name].files.partition(SEPARATOR)[0])
            if folder_state(place) == found[name].state and not os.path.lexists(place / first):
                log.warning("%s is not used: there is no %s", self._file, place / first)
                return False
        return True


def folder_state(folder: Path) -> State | None:
    """Inode and times of a folder; None where another change could leave them as they are, or listing it will fail."""
    try:
        found = os.stat(folder)
    except OSError:
        return None
    newest = max(found.st_mtime_ns, found.st_ctime_ns) / 1e9
    settled = time.time() - newest > SETTLED_SECONDS
    return State(found.st_ino, found.st_mtime_ns, found.st_ctime_ns) if settled else None


def index_folder() -> Path:
    """Where indices are kept."""
    return cache_root() / "folder-index"


def _check(folder: str, files: bytes, length: int) -> None:
    """Refuse what is no list of image names within a folder.

    Raises:
        ValueError: A name is hidden, empty, leads elsewhere, or bytes are missing.
    """
    odd = files.startswith((b".", SEPARATOR)) or b"\0." in files or b"\0\0" in files or files.endswith(SEPARATOR)
    if odd or b"/" in files or len(files) != length or length < 0:
        raise ValueError(f"its files of {folder!r} are no names of images")
