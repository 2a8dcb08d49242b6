"""What image files contain: a hash per file, computed once and kept with the file's size and time.

The cache is ``$XDG_CACHE_HOME/ptq-harness/image-hashes/`` (``~/.cache`` without the variable), one file per folder of
images. It can be deleted at any time. A file that changed within the last ``SETTLED_SECONDS`` is not kept: it could change
again without another time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.data.hash_file import Known, hash_file, read_hash_file
from harness.data.image_file import check_regular, unreadable

log = logging.getLogger(__name__)
SETTLED_SECONDS = 2.0  # file systems keep times in steps of up to two seconds
SPEAK_SECONDS = 3.0
THREADS = 8  # network disks answer many at once
CHUNK = 1024  # files between two looks at the clock
Say = Callable[[str], None]


def silent(text: str) -> None:
    """Tell nobody."""


class Spoken:
    """Tells how far long work is, every few seconds.

    Args:
        say: Gets the lines.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._last = time.monotonic()

    def now(self, text: str) -> None:
        """Say this if the last line, or the beginning, is long ago."""
        if time.monotonic() - self._last > SPEAK_SECONDS:
            self._say(text)
            self._last = time.monotonic()


class ContentHashes:
    """Hashes of the files of one folder.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._place, self._before = str(folder.absolute()), os.path.join(folder, "")
        key = hashlib.sha256(os.fsencode(self._place)).hexdigest()[:32]
        self._file = cache_folder() / f"{key}.hashes"
        self._known: dict[str, Known] | None = None

    def of(self, names: Sequence[str], say: Say = silent) -> list[str]:
        """SHA-256 of each file, in order.

        Args:
            names: Relative to the folder.
            say: Gets a line of text now and then when it takes more than a few seconds.

        Raises:
            DataError: A file is empty or cannot be read.
        """
        found: list[Known] = []
        self._kept()  # read here, not in many threads at once
        spoken = Spoken(say)
        try:
            with ThreadPoolExecutor(THREADS) as pool:
                for start in range(0, len(names), CHUNK):  # a chunk at a time, so that Ctrl-C waits for few
                    for some in pool.map(self._several, _parts(names[start : start + CHUNK])):
                        found += some
                    spoken.now(f"hashing images of {self.folder}: {len(found)} of {len(names)}")
        finally:  # what is known so far need not be read again after an interruption
            self._keep(dict(zip(names, found, strict=False)))
        return [one.sha256 for one in found]

    def _several(self, names: Sequence[str]) -> list[Known]:
        return [self._one(name) for name in names]

    def _one(self, name: str) -> Known:
        path = self._before + name
        status = check_regular(path)
        known = self._kept().get(name)
        if known is not None and (known.size, known.changed) == (status.st_size, status.st_mtime_ns):
            return known
        try:
            with open(path, "rb") as file:
                return Known(status.st_size, status.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise unreadable(path, error) from error

    def _kept(self) -> dict[str, Known]:
        if self._known is None:
            self._known = self._written()
        return self._known

    def _keep(self, found: Mapping[str, Known]) -> None:
        """Write the cache, with what other processes have written meanwhile; without it the next time takes longer."""
        known = self._kept()
        new = {name: one for name, one in found.items() if known.get(name) != one and _settled(one)}
        if not new:
            return
        self._known = {**self._written(), **known, **new}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_aside(self._file, hash_file(self._place, self._known))
        except OSError as error:
            log.warning("hashes of the images of %s are not kept: %s", self.folder, error)

    def _written(self) -> dict[str, Known]:
        """What is kept; nothing when there is no file or it is broken."""
        if not self._file.is_file():
            return {}
        try:
            return read_hash_file(self._file, self._place)
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            log.warning("%s is not used: %s: %s", self._file, type(error).__name__, error)
            return {}


def cache_root() -> Path:
    """Where the project keeps what can be had again."""
    choices = os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache"), "/nonexistent"  # who has no home
    return Path(next(filter(os.path.isabs, choices)), "ptq-harness")


def cache_folder() -> Path:
    """Where hashes are kept."""
    return cache_root() / "image-hashes"


def write_aside(file: Path, content: bytes) -> None:
    """Write a file under another name first: a reader sees all of it or nothing, also when many processes write."""
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.")
    try:
        with open(handle, "wb") as stream:
            stream.write(content)
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _parts(names: Sequence[str]) -> list[Sequence[str]]:
    """One part for each thread: to hand over every single file would take longer than to look at it."""
    size = -(-len(names) // THREADS)
    return [names[start : start + size] for start in range(0, len(names), size)]


def _settled(one: Known) -> bool:
    return time.time() - one.changed / 1e9 > SETTLED_SECONDS
