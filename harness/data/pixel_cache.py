"""Decoded images on disk, so that a second trial on the same images decodes nothing.

A folder (``$XDG_CACHE_HOME/ptq-harness/decoded/``, else ``~/.cache``, or ``--cache-dir``) has a file for every set of
images: those that one draw calibrates from, or those that are evaluated, at one size. Its name is a hash of all that decides
the pixels: content of the files, size, filter, crop, versions of the libraries that decode and resize. All of it can be
deleted at any time.

A file is written under another name and renamed when it is complete, so a reader sees all of it or nothing, and of several
writers the last one stays, with the same bytes.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from harness.data.pixel_file import BrokenPixelsError, PixelFile, Shape, head_of, sums_of

log = logging.getLogger(__name__)
SUFFIX = ".pixels"
ASIDE = ".aside"
BUSY_SECONDS = 600.0  # since a file was last written to, batch after batch, its writer may be alive
STALE_SECONDS = 24 * 3600.0  # nobody writes one file for so long: its writer was killed
SHARE = 0.5  # of a disk's free space, together with what is in the cache already


@dataclass(frozen=True)
class PixelCache:
    """A folder of decoded images.

    Attributes:
        folder: Where they are.
        limit: Bytes that it may have; None for half of what is free on its disk, counting what it has.
    """

    folder: Path
    limit: int | None = None

    def file(self, key: str) -> Path:
        """Where a set of images is, or would be."""
        return self.folder / f"{key}{SUFFIX}"

    def has(self, key: str, shape: Shape) -> bool:
        """Whether a set is there, by its size."""
        with suppress(OSError):
            return self.file(key).stat().st_size == shape.nbytes
        return False

    def open(self, key: str, shape: Shape) -> PixelFile | None:
        """A set of images; None where it is not there, or is not what was written, which a warning says."""
        if not self.has(key, shape):
            return None
        try:
            found = PixelFile(self.file(key), key, shape)
        except (OSError, BrokenPixelsError) as error:
            self.drop(key, error)
            return None
        with suppress(OSError):  # somebody else's folder, which may only be read
            os.utime(found.path)  # the least recently used ones go first
        return found

    def drop(self, key: str, error: Exception) -> None:
        """Say what is wrong with a set, and delete it."""
        log.warning("%s is not used: %s", self.file(key), error)
        with suppress(OSError):
            self.file(key).unlink()

    def begin(self, key: str, shape: Shape) -> PixelWriter | None:
        """Start to write a set; None where another process is at it, it does not fit, or the folder cannot be written to."""
        if self._is_written(key):
            return None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self.make_room(shape.nbytes):
                log.warning("decoded images are not kept: %.1f GB do not fit into %s", shape.nbytes / 1e9, self.folder)
                return None
            return PixelWriter(self, key, shape)
        except OSError as error:
            log.warning("decoded images are not kept in %s: %s", self.folder, error)
            return None

    def _is_written(self, key: str) -> bool:
        """Whether another process is writing the set: many jobs that start together need not fill the disk with copies."""
        begun = (used for path, (_, used) in self._files().items() if path.suffix == ASIDE and path.name.startswith(key))
        return any(time.time() - used < BUSY_SECONDS for used in begun)

    def most(self) -> int:
        """Bytes that the cache may have.

        Raises:
            OSError: Its disk cannot be asked.
        """
        if self.limit is not None:
            return self.limit
        place = next(one for one in (self.folder, *self.folder.absolute().parents) if one.exists())
        disk = os.statvfs(place)
        return int(SHARE * (disk.f_bavail * disk.f_frsize + self.used()))

    def used(self) -> int:
        """Bytes of all its files."""
        return sum(size for size, _ in self._files().values())

    def make_room(self, nbytes: int) -> bool:
        """Delete what killed writers left, and the sets that were used longest ago, until so many bytes fit.

        Returns:
            Whether they fit; where they cannot no set is deleted for them.

        Raises:
            OSError: The disk cannot be asked, or does not let go of a file.
        """
        now, found = time.time(), self._files()
        writing = [path for path in found if path.suffix == ASIDE]
        for path in [path for path in writing if now - found[path][1] > STALE_SECONDS]:
            _delete(path)
            writing.remove(path)
        sets = sorted((path for path in found if path.suffix == SUFFIX), key=lambda path: found[path][1])
        most, held = self.most(), nbytes + sum(found[path][0] for path in writing)
        if held > most:
            return False
        held += sum(found[path][0] for path in sets)
        for path in sets:
            if held <= most:
                break
            held -= found[path][0]
            _delete(path)
        return True

    def _files(self) -> Mapping[Path, tuple[int, float]]:
        """Size and time of the last use of every file of the cache; other files are none of ours."""
        found: dict[Path, tuple[int, float]] = {}
        with suppress(OSError):
            for entry in os.scandir(self.folder):
                if entry.name.endswith((SUFFIX, ASIDE)):
                    with suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        found[Path(entry.path)] = (status.st_size, status.st_mtime)
        return found


class PixelWriter:
    """A file that is being written, image after image.

    Args:
        cache: Where it will be.
        key: Of the set.
        shape: Of the set.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, cache: PixelCache, key: str, shape: Shape) -> None:
        self._cache, self._key, self._shape = cache, key, shape
        self._path = cache.folder / f"{key}.{secrets.token_hex(8)}{ASIDE}"
        self._file = self._path.open("xb")
        self._file.truncate(shape.nbytes)  # others count what it will have
        self._sums: list[np.ndarray] = []
        self._count = 0
        self._broken = not self._tried(head_of(key, shape))

    def add(self, images: Tensor) -> None:
        """Write some more images, uint8 ``(n, c, h, w)``; on a full disk the set is given up, which a warning says."""
        if self._broken:
            return
        if tuple(images.shape[1:]) != self._shape[1:]:
            self._give_up(f"an image is {tuple(images.shape[1:])}, expected {self._shape[1:]}")
            return
        values = images.contiguous().numpy()
        self._sums.append(sums_of(values))
        self._count += len(values)
        self._tried(values)

    def keep(self) -> None:
        """Give the file its name, if all images are in it."""
        if self._broken or self._count != self._shape.images:
            self.discard()
            return
        if not self._tried(np.concatenate(self._sums)):
            return
        try:
            self._file.close()
            os.replace(self._path, self._cache.file(self._key))
        except OSError as error:
            self._give_up(error)

    def discard(self) -> None:
        """Delete what was written."""
        self._broken = True
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _tried(self, content: Any) -> bool:
        try:
            self._write(content)
        except OSError as error:
            self._give_up(error)
            return False
        return True

    def _write(self, content: Any) -> None:
        self._file.write(content)

    def _give_up(self, why: object) -> None:
        log.warning("decoded images are not kept in %s: %s", self._cache.folder, why)
        self.discard()


def _delete(path: Path) -> None:
    with suppress(FileNotFoundError):  # another process deletes too
        path.unlink()
