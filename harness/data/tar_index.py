"""Where the images and labels of tar shards lie, so that any image can be read without those before it.

A sample is the files of one name up to its first dot (``0001.jpg``, ``0001.cls``), as webdataset has it.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from harness.data.content import Say, Spoken
from harness.data.kept_arrays import Arrays, kept
from harness.data.rows import NO_LABEL
from harness.errors import DataError

FORM = 1  # raised when the arrays mean something else than before
LONGEST_LABEL = 2**20  # bytes of a file with a label
LARGEST_LABEL = 10**9
LABEL, JSON = "cls", "json"


@dataclass(frozen=True)
class Wanted:
    """Which files of a sample are read.

    Attributes:
        images: Endings of the image, the first that there is.
        label: Field of the JSON file that holds the label; empty: the file ``cls`` holds it.
    """

    images: tuple[str, ...]
    label: str = ""


@dataclass
class Sample:
    """One sample: offset and size by ending."""

    parts: dict[str, tuple[int, int]] = field(default_factory=dict)

    def image(self, wanted: Wanted) -> tuple[int, int] | None:
        """Where the image lies."""
        return next((self.parts[one] for one in wanted.images if one in self.parts), None)


def tar_index(shards: Sequence[str], wanted: Wanted, say: Say) -> Arrays:
    """Shard, offset, size and label of every image, in order; kept until a shard changes.

    Args:
        shards: Paths of the tar files.
        wanted: Which files are read.
        say: Gets a line of text now and then.

    Raises:
        DataError: A shard is no readable tar file, or a label no class index.
    """
    form = {"shard": ("<i8", 1), "offset": ("<i8", 1), "size": ("<i8", 1), "label": ("<i8", 1)}
    return kept("shards", shards_key(shards, wanted), form, lambda: _scanned(shards, wanted, say))


def shards_key(shards: Sequence[str], wanted: Wanted) -> str:
    """Changes when a shard does, by size and time.

    Raises:
        DataError: A shard is not there.
    """
    try:
        found = [(path, os.stat(path)) for path in shards]
    except OSError as error:
        raise DataError(f"shard {str(error.filename)!r} cannot be read: {error.strerror}") from error
    files = [[path, status.st_size, status.st_mtime_ns] for path, status in found]
    return json.dumps([FORM, wanted.images, wanted.label, files])


def _scanned(shards: Sequence[str], wanted: Wanted, say: Say) -> Arrays:
    spoken, rows = Spoken(say), list[tuple[int, int, int, int]]()
    for number, path in enumerate(shards):
        try:
            rows += [(number, *row) for row in _rows(path, wanted)]
        except (OSError, tarfile.TarError, EOFError) as error:
            raise DataError(f"shard {path!r} is no readable tar file: {type(error).__name__}: {error}") from error
        spoken.now(f"listing images of tar shards: {number + 1} of {len(shards)}")
    table = np.array(rows, "<i8").reshape(-1, 4)
    return {name: np.ascontiguousarray(table[:, i]) for i, name in enumerate(("shard", "offset", "size", "label"))}


def _rows(path: str, wanted: Wanted) -> Iterator[tuple[int, int, int]]:
    """Offset, size and label of the images of a shard; a sample without an image is left out."""
    with open(path, "rb") as raw, tarfile.open(path, "r:") as shard:  # not compressed: only then is there an offset
        for _, members in groupby(_files(shard), key=lambda one: one[0]):
            sample = Sample({ending: place for _, ending, place in members})
            image = sample.image(wanted)
            if image is not None:
                yield *image, _label(sample, wanted, raw.fileno(), path)


def _files(shard: tarfile.TarFile) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Name of the sample, ending and place of every file."""
    for member in shard:
        folder, _, name = member.name.rpartition("/")
        key, dot, ending = name.partition(".")
        if member.isreg() and key and dot:
            yield f"{folder}/{key}", ending.lower(), (member.offset_data, member.size)
        shard.members.clear()  # type: ignore[attr-defined]  # tarfile keeps them all, of a million files


def _label(sample: Sample, wanted: Wanted, file: int, path: str) -> int:
    offset, size = sample.parts.get(JSON if wanted.label else LABEL, (0, 0))
    if not size:
        return NO_LABEL
    content = os.pread(file, min(size, LONGEST_LABEL), offset)
    try:
        value = json.loads(content)
        value = value[wanted.label] if wanted.label else value
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _no_label(content, wanted, path) from error
    if not isinstance(value, int) or not 0 <= value < LARGEST_LABEL:
        raise _no_label(content, wanted, path)
    return value


def _no_label(content: bytes, wanted: Wanted, path: str) -> DataError:
    where = f" in the field {wanted.label!r} of the JSON file" if wanted.label else ""
    return DataError(f"a label in shard {path!r} is {content[:40]!r}, expected a class index{where}")
