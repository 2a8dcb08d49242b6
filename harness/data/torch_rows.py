"""Splits of torchvision's data sets, through timm's factory."""

from __future__ import annotations

import os
from typing import Any

from harness.data.content import Say
from harness.data.image_file import check_regular, unreadable
from harness.data.rows import Row, Rows
from harness.data.timm_datasets import open_split
from harness.errors import DataError, nearest
from harness.trial.readers import ReaderData

SHOWN = 8  # folders in a message
NAMES = (
    "cifar10",
    "cifar100",
    "fashion_mnist",
    "folder",
    "image_folder",
    "imagenet",
    "inaturalist",
    "kmnist",
    "mnist",
    "places365",
    "qmnist",
)
PARTED = ("folder", "image_folder", "imagenet", "inaturalist", "places365")  # with names of splits of their own
VALIDATION, USUAL = "validation", ("train", "validation", "test")  # all but train are the one that is not for training


class TorchRows(Rows):
    """One split.

    Args:
        dataset: Torchvision's data set.
        split: Name of the split.
    """

    def __init__(self, dataset: Any, split: str) -> None:
        self.split = split
        self._dataset = dataset
        self._files: list[tuple[str, int]] | None = getattr(dataset, "samples", None)  # of data sets that are folders
        classes = getattr(dataset, "classes", None) or ()
        self.class_count = len(classes)
        if all(isinstance(name, str) for name in classes):
            self.class_names = list(classes)

    def __len__(self) -> int:
        return len(self._dataset)

    def is_same_folder(self, other: TorchRows) -> bool:
        """Whether both have the same files."""
        return self._files is not None and self._files == other._files

    def read(self, index: int) -> Row:
        """An image and its label: bytes of the file where there is one, else pixels."""
        if self._files is not None:
            path, label = self._files[index]
            check_regular(path)
            with open(path, "rb") as file:
                return Row(file.read(), int(label))
        try:
            image, label = self._dataset[index]
        except (OSError, ValueError, SyntaxError) as error:
            raise unreadable(self.name(index), error) from error
        return Row(image, int(label))


def torch_rows(asked: ReaderData, say: Say) -> tuple[Rows, Rows]:
    """Calibration and evaluation split.

    Args:
        asked: The data set.
        say: Gets a line of text.

    Raises:
        DataError: There is no such data set, or its files are not where they should be.
    """
    name = asked.name.lower()
    if name not in NAMES:
        raise DataError(
            f"torchvision has no data set {asked.name!r} here.{nearest(name, NAMES)} Expected: {', '.join(NAMES)}"
        )
    if not asked.root:
        raise DataError(f"data {str(asked)!r} does not say where its files are", f"expected torch/{name}(root=FOLDER)")
    say(f"opening {asked.short}")
    hint = f"expected its files below {asked.root!r}; torchvision fetches some with torch/{name}(root=FOLDER,download=true)"
    names = asked.calibration, asked.evaluation or VALIDATION
    missing = next((one for one in names if name not in PARTED and one not in USUAL), None)
    if missing is not None:
        raise DataError(
            f"data {str(asked)!r} has no split {missing!r}.{nearest(missing, USUAL)} Expected: {', '.join(USUAL)}"
        )
    first, second = (TorchRows(open_split(asked, one, hint), one) for one in names)
    if first.is_same_folder(second):  # timm takes the whole folder where it finds none for a split
        raise DataError(f"{asked.root!r} has no folders for the splits {' and '.join(names)}; it has {_folders(asked.root)}")
    return first, second


def _folders(root: str) -> str:
    return ", ".join(map(repr, sorted(entry.name for entry in os.scandir(root) if entry.is_dir())[:SHOWN])) or "none"
