"""One file of decoded images: a line of JSON that says what they are, the pixels, and a checksum of every image.

What is read is compared with its checksum. Reading is by position and not through a mapping of the file into memory: both
come from the system's cache of pages, which all processes share, but where the file is cut short or goes away under a reader
on a network disk, reading is an error that can be mended, and touching a mapping kills the process.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

FORM = 1
HEAD = 4096  # bytes before the pixels: a page
SUM = np.dtype("<u4")


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
        return HEAD + self.images * (self.each + SUM.itemsize)


class BrokenPixelsError(Exception):
    """A file of the cache is not what was written."""


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
        if self._file.read(HEAD) != head_of(key, shape):
            raise BrokenPixelsError("it is of another form, or of other images")
        self._file.seek(HEAD + shape.images * shape.each)
        self._sums = np.frombuffer(self._file.read(SUM.itemsize * shape.images), SUM)
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
        if not np.array_equal(sums_of(values), self._sums[start:stop]):
            raise BrokenPixelsError("pixels are not those that were written")
        return images


def head_of(key: str, shape: Shape) -> bytes:
    """The first page of a file: what it says of itself."""
    return json.dumps({"form": FORM, "key": key, "shape": list(shape)}).encode().ljust(HEAD)


def sums_of(images: np.ndarray) -> np.ndarray:
    """A checksum of every image: ``(n,)``."""
    return np.array([zlib.crc32(image) for image in images], SUM)
