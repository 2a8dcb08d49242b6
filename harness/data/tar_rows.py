"""Splits in tar shards (webdataset): timm's factory says which shards a split has, images are read where they lie."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.data.content import Say
from harness.data.rows import Row, Rows
from harness.data.split_names import chosen_split
from harness.data.tar_index import Wanted, shards_key, tar_index
from harness.data.timm_datasets import open_split
from harness.errors import DataError, nearest
from harness.trial.readers import ReaderData

INFO = ("_info.json", "info.json")  # where timm's shards say which splits there are
_NUMBERED = re.compile(r"^(?P<split>.*?)(?:[-_.]?\d+(?:-of-\d+)?)?\.tar$")


class TarRows(Rows):
    """One split.

    Args:
        reader: Timm's reader of it.
        split: Its name.
        say: Gets a line of text now and then.

    Raises:
        DataError: A shard is not there or no tar file.
    """

    def __init__(self, reader: Any, split: str, say: Say) -> None:
        self.split = split
        self._shards = [os.path.join(reader.root, name) for name in reader.split_info.filenames]
        self._wanted = Wanted(tuple(str(reader.input_key).split(";")), reader.target_key or reader.split_info.alt_label)
        self.key = shards_key(self._shards, self._wanted)
        self._index = tar_index(self._shards, self._wanted, say)

    def __len__(self) -> int:
        return len(self._index["label"])

    def label(self, index: int) -> int:
        """The label of an image."""
        return int(self._index["label"][index])

    def unchanged(self) -> bool:
        """Whether sizes and times of the shards are as when they were opened."""
        return shards_key(self._shards, self._wanted) == self.key

    def read(self, index: int) -> Row:
        """An image as its encoded bytes, and its label."""
        shard, offset, size, label = (int(self._index[name][index]) for name in ("shard", "offset", "size", "label"))
        try:
            with open(self._shards[shard], "rb") as file:
                content = os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise DataError(f"shard {self._shards[shard]!r} cannot be read: {error.strerror}") from error
        if len(content) != size:
            raise DataError(f"shard {self._shards[shard]!r} ends within image {self.name(index)!r}")
        return Row(content, label)


def tar_rows(asked: ReaderData, say: Say) -> tuple[Rows, Rows]:
    """Calibration and evaluation split.

    Args:
        asked: The data set.
        say: Gets a line of text now and then.

    Raises:
        DataError: There is no such folder or split, or a shard cannot be read.
    """
    folder = asked.absolute().name
    if not os.path.isdir(folder):
        raise DataError(f"data {str(asked)!r}: {folder!r} is no folder", "expected a folder with tar shards")
    there = _splits(Path(folder))
    names = asked.calibration, chosen_split(asked, list(there))
    first, second = (_opened(asked, folder, name, there, say) for name in names)
    return first, second


def _opened(asked: ReaderData, folder: str, split: str, there: Mapping[str, Sequence[str]], say: Say) -> TarRows:
    if split not in there:
        known = ", ".join(sorted(there)) or "none"
        raise DataError(f"{folder!r} has no split {split!r}.{nearest(split, there)} It has: {known}")
    shards = "::".join(there[split])  # timm's way of giving files; without any, its own list says which
    dataset = open_split(asked, shards or split, f"expected tar shards in {folder!r}", root=folder)
    return TarRows(dataset.reader, split, say)


def _splits(folder: Path) -> dict[str, list[str]]:
    """Splits with their shards: by the names of the files, or without shards where timm's own list says what there is."""
    for name in INFO:
        if (folder / name).is_file():
            return {split: [] for split in _listed(folder / name)}
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(os.listdir(folder)):
        match = _NUMBERED.match(name)
        if match is not None and not re.search(r"[{}|]|::", name):  # these mean something to webdataset
            found[re.split(r"[-_.]", match["split"])[-1]].append(name)
    return dict(found)


def _listed(path: Path) -> list[str]:
    try:
        return list(map(str, json.loads(path.read_bytes())["splits"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{str(path)!r} does not say which splits there are: {type(error).__name__}: {error}",
            "expected JSON with splits, or no such file and shards called train-0000.tar",
        ) from error
