"""Decoded images on disk, so that a second trial on the same images decodes nothing.

A folder (``$XDG_CACHE_HOME/ptq-harness/decoded/``, else ``~/.cache``, or ``--cache-dir``) has a file for every set of
images: those that one draw calibrates from, or those that are evaluated, at one size. Its name is a hash of all that decides
the pixels: content of the files, size, filter, crop, versions of the libraries that decode and resize. All of it can be
deleted at any time.

A file is written under another name and renamed when it is complete, so a reader sees all of it or nothing, and of several
writers the last one stays, with the same bytes. It holds a line of JSON, the pixels, and a checksum for every image. What is
read is compared with it. Reading is by position and not through a mapping of the file into memory: both come from the
system's cache of pages, which all processes share, but where the file is cut short or goes away under a reader on a network
disk, reading is an error that can be mended, and touching a mapping kills the process.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

log = logging.getLogger(__name__)
FORM = 1
HEAD = 4096  # bytes before the pixels: a page
SUFFIX = ".pixels"
ASIDE = ".aside"
STALE_SECONDS = 24 * 3600.0  # nobody writes one file for so long: its writer was killed
SHARE = 0.5  # of a disk's free space, together with what is in the cache already


class Shape(NamedTuple):
    """Images, channels, height, width."""

    images: int
    channels: int
    height: int
    width: int

    @property
    def each(self) -> int:
        """Bytes of an image."""
        return self.channels * self.height * self.width

    @property
    def nbytes(self) -> int:
        """Bytes of a file."""
        return HEAD + self.images * (self.each + 4)


class BrokenPixelsError(Exception):
    """A file of the cache is not what was written."""


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
            os.utime(found.path)  # the least recently used ones go first
        except (OSError, BrokenPixelsError) as error:
            self.drop(key, error)
            return None
        return found

    def drop(self, key: str, error: Exception) -> None:
        """Say what is wrong with a set, and delete it."""
        log.warning("%s is not used: %s", self.file(key), error)
        with suppress(OSError):
            self.file(key).unlink()

    def begin(self, key: str, shape: Shape) -> PixelWriter | None:
        """Start to write a set; None where it would be larger than the limit, or the folder cannot be written to."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if shape.nbytes > self.most():
                log.warning("decoded images are not kept: %.1f GB do not fit into %s", shape.nbytes / 1e9, self.folder)
                return None
            return PixelWriter(self, key, shape)
        except OSError as error:
            log.warning("decoded images are not kept in %s: %s", self.folder, error)
            return None

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

    def make_room(self, nbytes: int) -> None:
        """Delete what writers left behind, and the sets that were used longest ago, until so many bytes fit."""
        now, found = time.time(), self._files()
        stale = [path for path, (_, used) in found.items() if path.suffix == ASIDE and now - used > STALE_SECONDS]
        sets = sorted((path for path in found if path.suffix == SUFFIX), key=lambda path: found[path][1])
        held, most = self.used() + nbytes, self.most()
        for path in [*stale, *sets]:
            if path in stale or held > most:
                held -= found[path][0]
                with suppress(FileNotFoundError):  # another process deletes too
                    path.unlink()

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


class PixelFile:
    """A complete file, open for reading.

    Args:
        path: The file.
        key: What it must say of itself.
        shape: Likewise.

    Raises:
        OSError: It cannot be read.
        BrokenPixelsError: It says something else.
    """

    def __init__(self, path: Path, key: str, shape: Shape) -> None:
        self.path, self._shape = path, shape
        self._file = path.open("rb")
        head: Any = _json(self._file.read(HEAD))
        if head != {"form": FORM, "key": key, "shape": list(shape)}:
            raise BrokenPixelsError("it is of another form, or of other images")
        self._file.seek(HEAD + shape.images * shape.each)
        self._sums = np.frombuffer(self._file.read(4 * shape.images), "<u4")
        if len(self._sums) != shape.images:
            raise BrokenPixelsError("it ends early")

    def read(self, start: int, stop: int) -> Tensor:
        """Images ``start`` to ``stop``: uint8 ``(n, c, h, w)``.

        Args:
            start: The first.
            stop: Behind the last.

        Raises:
            OSError: It cannot be read.
            BrokenPixelsError: It is not what was written.
        """
        images = torch.empty((stop - start, *self._shape[1:]), dtype=torch.uint8)
        values = images.numpy()
        self._file.seek(HEAD + start * self._shape.each)
        if self._file.readinto(values.data) != images.nbytes:
            raise BrokenPixelsError("it ends early")
        for image, expected in zip(values, self._sums[start:stop], strict=True):
            if zlib.crc32(image) != expected:
                raise BrokenPixelsError("pixels are not those that were written")
        return images


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
        cache.make_room(shape.nbytes)
        self._path = cache.folder / f"{key}.{secrets.token_hex(8)}{ASIDE}"
        self._file = self._path.open("xb")
        self._sums: list[int] = []
        self._broken = not self._tried(json.dumps({"form": FORM, "key": key, "shape": list(shape)}).encode().ljust(HEAD))

    def add(self, images: Tensor) -> None:
        """Write some more images, uint8 ``(n, c, h, w)``; on a full disk the set is given up, which a warning says."""
        if self._broken:
            return
        if tuple(images.shape[1:]) != self._shape[1:]:
            self._give_up(f"an image is {tuple(images.shape[1:])}, expected {self._shape[1:]}")
            return
        values = images.contiguous().numpy()
        self._sums += [zlib.crc32(image) for image in values]
        self._tried(values)

    def keep(self) -> None:
        """Give the file its name, if all images are in it."""
        if self._broken or len(self._sums) != self._shape.images:
            self.discard()
            return
        if not self._tried(np.array(self._sums, "<u4")):
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


def _json(head: bytes) -> Any:
    try:
        return json.loads(head)
    except ValueError as error:
        raise BrokenPixelsError("its first line is no JSON") from error
