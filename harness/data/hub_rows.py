"""Splits of a data set of the ``datasets`` library: on a hub, or parquet and other files of a local folder.

Rows are read from memory-mapped Arrow files one by one; images stay encoded until they are needed.
"""

from __future__ import annotations

import os
from typing import Any

from harness.data.content import Say
from harness.data.rows import NO_LABEL, Row, Rows
from harness.data.split_names import chosen_split
from harness.data.timm_datasets import open_split
from harness.errors import DataError
from harness.trial.readers import ReaderData


class HubRows(Rows):
    """One split.

    Args:
        reader: Timm's reader of it.
        split: Its name.

    Raises:
        DataError: It has no column of labels.
    """

    def __init__(self, reader: Any, split: str) -> None:
        self.split = split
        self._reader = reader
        if reader.label_key not in reader.dataset.column_names:
            columns = ", ".join(reader.dataset.column_names)
            raise DataError(
                f"split {split!r} has no column {reader.label_key!r}; it has {columns}", "another one: label=COLUMN"
            )
        self._labels = reader.dataset.select_columns(reader.label_key)
        self.key = f"{reader.dataset._fingerprint} {len(reader)} {reader.image_key} {reader.label_key}"
        names = {index: name for name, index in reader.class_to_idx.items()}
        if sorted(names) == list(range(len(names))):
            self.class_names, self.class_count = [str(names[index]) for index in range(len(names))], len(names)

    def __len__(self) -> int:
        return len(self._reader)

    def label(self, index: int) -> int:
        """The label of an image."""
        return self._number(self._labels[index][self._reader.label_key], index)

    def unchanged(self) -> bool:
        """Files that ``datasets`` has made are never written again."""
        return True

    def read(self, index: int) -> Row:
        """An image as its encoded bytes, and its label."""
        try:
            file, label = self._reader[index]
            with file:
                content = file.read()
        except (OSError, AssertionError, TypeError, KeyError) as error:
            raise DataError(f"image {self.name(index)!r} cannot be read: {type(error).__name__}: {error}") from error
        return Row(content, self._number(label, index))

    def _number(self, label: Any, index: int) -> int:
        """The label of a row.

        Raises:
            DataError: It is a text, a list, or otherwise no class index.
        """
        if label is None:
            return NO_LABEL
        if not isinstance(label, int):
            raise DataError(
                f"label of image {self.name(index)!r} is {str(label)[:40]!r}, expected a class index",
                f"the column {self._reader.label_key!r} is not one of class indices; another one: label=COLUMN",
            )
        return label


def hub_rows(asked: ReaderData, say: Say) -> tuple[Rows, Rows]:
    """Calibration and evaluation split.

    Args:
        asked: The data set.
        say: Gets a line of text.

    Raises:
        DataError: There is no such data set, split or column.
    """
    if asked.is_place and not os.path.isdir(asked.name):
        raise DataError(f"data {str(asked)!r}: {asked.name!r} is no folder", "expected a folder with parquet files")
    say(f"opening {asked.short}")
    hint = f"settings choose splits and columns: hfds/{asked.name}(calibration=..., evaluation=..., image=..., label=...)"
    first = open_split(asked, asked.calibration, hint).reader
    there = list(first.dataset.info.splits or (asked.calibration,))
    second = chosen_split(asked, there)
    return HubRows(first, asked.calibration), HubRows(open_split(asked, second, hint).reader, second)
