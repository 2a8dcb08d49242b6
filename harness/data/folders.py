"""Image files: two sides of files, and folders of them with ``train/`` and ``val/`` or one tree of class folders."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.data.content import ContentHashes, Say, silent
from harness.data.decoded_source import DecodedSource
from harness.data.image_files import ImageFiles
from harness.data.labels import IMAGENET_CLASSES, Labels, Wanted, labels_of
from harness.data.listing import Side, scan
from harness.data.names import Names
from harness.data.preprocessing import Preprocessing
from harness.errors import DataError, nearest

HELD_OUT_SHARE = 5  # without train/ and val/, one image in five is for calibration
FINGERPRINT_FORM = 2  # raised when a fingerprint is of something else than before: ids of trials on folders change


class FileSource(DecodedSource):
    """Image files on two sides.

    The fingerprint covers names and content of all evaluation images and the names of all calibration images.
    ``calibration_fingerprint`` covers the content of those that are drawn: nobody reads 1.28 million files to use 256.
    Before ``labelled`` labels are those of ImageNet-1k.

    Args:
        name: What the user called it.
        calibration: One side.
        evaluation: The other.
        split: How they were separated.
        say: Gets a line of text now and then when hashing takes more than a few seconds.

    Raises:
        DataError: An evaluation image cannot be read.
    """

    classes: int = IMAGENET_CLASSES

    def __init__(self, name: str, calibration: Side, evaluation: Side, split: str, say: Say = silent) -> None:
        self.name, self.split = name, split
        self._calibration, self._evaluation = calibration, evaluation
        self._hashes = ContentHashes(calibration.folder)
        evaluated = ContentHashes(evaluation.folder).of(list(evaluation.names), say)
        super().__init__(evaluated)
        self._labels: Labels | None = None
        self.fingerprint = _fingerprint(calibration.names, evaluation.names, evaluated)

    @property
    def calibration_size(self) -> int:
        """Number of images on the calibration side."""
        return len(self._calibration)

    @property
    def class_folders(self) -> list[str]:
        """Names of the class folders of both sides, sorted."""
        return sorted({*self._calibration.classes, *self._evaluation.classes})

    def labelled(self, outputs: int, model: str, classes: str | None = None) -> FileSource:
        """The same images with labels for a network, by ``harness/data/labels.py``."""
        found = labels_of(Wanted(self.class_folders, outputs, self.name, model), classes)
        source = copy.copy(self)
        source.classes, source._labels = outputs, found
        source.labels_sha256, source.labels = found.sha256, found.rule
        return source

    def unlabelled(self) -> FileSource:
        """The same images, whatever the class folders are called."""
        source = copy.copy(self)
        source._labels = Labels(dict.fromkeys(self.class_folders, 0), "no labels", "")
        return source

    def _calibration_images(self, index: Sequence[int], preprocessing: Preprocessing) -> ImageFiles:
        return ImageFiles(self._calibration, list(index), None, preprocessing)

    def _evaluation_images(self, index: Sequence[int], preprocessing: Preprocessing) -> ImageFiles:
        labels = self._labels or labels_of(Wanted(self.class_folders, IMAGENET_CLASSES, self.name, "of ImageNet-1k"), None)
        return ImageFiles(self._evaluation, list(index), labels.index, preprocessing)

    def _contents(self, index: Sequence[int]) -> Mapping[str, str]:
        names = [self._calibration.names[i] for i in index]
        return dict(zip(names, self._hashes.of(names), strict=True))


class FolderSource(FileSource):
    """A folder with ``train/`` and ``val/``, or one tree of class folders that is split by a hash of the file name.

    Args:
        root: The folder.
        say: Gets a line of text now and then when hashing takes more than a few seconds.

    Raises:
        DataError: It does not exist, has no images, or a file cannot be read.
    """

    def __init__(self, root: Path, say: Say = silent) -> None:
        if not os.path.isdir(root):
            what = "is no folder" if os.path.exists(root) else "does not exist"
            raise DataError(f"data folder {str(root)!r} {what}", _neighbours(root))
        _check_name(root)
        super().__init__(str(root), *_sides(root, say), say)


def _sides(root: Path, say: Say) -> tuple[Side, Side, str]:
    """Calibration, evaluation, and how they were separated."""
    train, val = root / "train", next((root / n for n in ("val", "validation", "test") if (root / n).is_dir()), None)
    if train.is_dir() and val is not None:
        return scan(train, say), scan(val, say), f"calibration from {train.name}/, evaluation from {val.name}/"
    side = scan(root, say)
    held_out = [_held_out(name) for name in side.names]
    split = f"by hash of the file name: one image in {HELD_OUT_SHARE} for calibration, the rest for evaluation"
    return side.chosen(held_out), side.chosen([not one for one in held_out]), split


def _held_out(name: str) -> bool:
    digest = hashlib.sha256(os.fsencode(os.path.basename(name))).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_SHARE == 0


def _fingerprint(calibration: Names, evaluation: Names, content: list[str]) -> str:
    """Hash over the names of both sides and the content of the evaluation side: copies of a data set agree."""
    digest = hashlib.sha256(f"images, form {FINGERPRINT_FORM}\0".encode())
    for names in calibration.marked(b"calibration\0"):
        digest.update(names)
    text = "".join(f"evaluation\0{name}\0{sha256}\0" for name, sha256 in zip(evaluation, content, strict=True))
    digest.update(os.fsencode(text))
    return digest.hexdigest()


def _check_name(root: Path) -> None:
    """Refuse a path that records, which are UTF-8, cannot hold.

    Raises:
        DataError: It has bytes that are no UTF-8.
    """
    try:
        str(root.absolute()).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"the path of data folder {str(root)!r} is not UTF-8, so no record could hold it", "rename it"
        ) from error


def _neighbours(root: Path) -> str:
    parent = root.parent
    hint = "give a folder with train/ and val/, or one folder per class, or the word embedded or photos"
    try:
        close = nearest(root.name, [entry.name for entry in parent.iterdir() if entry.is_dir()])
    except (OSError, ValueError):  # the hint only: there can be no such place, or it cannot be listed
        return hint
    return hint + "." + close if close else hint
