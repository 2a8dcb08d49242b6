"""Labelled images of one split, in fixed order and read one by one; what identifies them is their content."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from harness.data.content import Say, Spoken
from harness.data.image_file import decode_image
from harness.data.kept_arrays import Arrays, kept
from harness.errors import DataError

DIGEST = 32  # bytes of a SHA-256
NO_LABEL = -1  # what test splits without labels have


class Row(NamedTuple):
    """One image.

    Attributes:
        image: What its file would hold; pixels where the data set has no files.
        label: Number of its class; ``NO_LABEL`` where there is none.
    """

    image: bytes | Image.Image
    label: int

    @property
    def sha256(self) -> bytes:
        """Hash of its content without the label, 32 bytes."""
        if isinstance(self.image, bytes):
            return hashlib.sha256(self.image).digest()
        return hashlib.sha256(f"{self.image.mode} {self.image.size} ".encode() + self.image.tobytes()).digest()

    def pixels(self, mode: str, name: str) -> Image.Image:
        """The decoded image.

        Args:
            mode: Pillow's mode: ``RGB`` or ``L``.
            name: What a message calls it.

        Raises:
            DataError: It cannot be decoded.
        """
        return decode_image(self.image, mode, name) if isinstance(self.image, bytes) else self.image.convert(mode)


class Rows(ABC):
    """Images of one split.

    Attributes:
        split: Name of the split.
        key: Changes when the content does, and is the same in the next process; empty where nothing tells.
        class_names: In the order of the labels; empty where the data set names none.
        class_count: Number of classes; 0 where the data set does not say.
    """

    split: str
    key: str = ""
    class_names: Sequence[str] = ()
    class_count: int = 0

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def read(self, index: int) -> Row:
        """An image and its label.

        Raises:
            DataError: It cannot be read.
        """

    def label(self, index: int) -> int:
        """The label of an image; where reading it takes the image, too, a split knows better."""
        return self.read(index).label

    def unchanged(self) -> bool:
        """Whether all images are as when the split was opened, as far as that can be told without reading them."""
        return False

    def name(self, index: int) -> str:
        """What a message calls an image."""
        return f"{self.split}[{index}]"


@dataclass(frozen=True)
class Content:
    """What all images of a split are.

    Attributes:
        labels: ``(n,)`` int64.
        sha256: ``(n, 32)`` uint8, of the images without labels.
    """

    labels: np.ndarray
    sha256: np.ndarray

    def digests(self) -> list[str]:
        """The hashes as text."""
        size, digits = 2 * DIGEST, self.sha256.tobytes().hex()
        return [digits[start : start + size] for start in range(0, len(digits), size)]

    def fingerprint(self) -> bytes:
        """Hash over images and labels in their order."""
        return hashlib.sha256(self.labels.astype("<i8").tobytes() + self.sha256.tobytes()).digest()


def content_of(rows: Rows, say: Say) -> Content:
    """Read a whole split once; the next process finds the hashes where the split has a key.

    Args:
        rows: The split.
        say: Gets a line of text now and then.

    Raises:
        DataError: An image cannot be read, or there is none.
    """
    if not len(rows):
        raise DataError(f"split {rows.split!r} has no images")
    found = kept("content", rows.key, {"labels": ("<i8", 1), "sha256": ("|u1", 2)}, lambda: _read(rows, say))
    return Content(found["labels"], found["sha256"])


def _read(rows: Rows, say: Say) -> Arrays:
    spoken, labels, hashes = Spoken(say), np.empty(len(rows), "<i8"), np.empty((len(rows), DIGEST), "|u1")
    for index in range(len(rows)):
        row = rows.read(index)
        labels[index], hashes[index] = row.label, np.frombuffer(row.sha256, "|u1")
        spoken.now(f"hashing images of split {rows.split}: {index + 1} of {len(rows)}")
    return {"labels": labels, "sha256": hashes}
