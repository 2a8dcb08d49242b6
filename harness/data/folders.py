"""Image files: two sides of files, and folders of them with ``train/`` and ``val/`` or one tree of class folders."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from harness.data.content import ContentHashes, Say, silent
from harness.data.decoding import DecodedSet, Decoding
from harness.data.image_files import ImageFiles, StreamedSet
from harness.data.kept_set import KeptSet
from harness.data.labels import IMAGENET_CLASSES, Labels, Wanted, labels_of
from harness.data.listing import Side, scan
from harness.data.names import Names
from harness.data.pixel_file import Shape
from harness.data.pixels import inexact, pixels_id
from harness.data.preprocessing import Preprocessing
from harness.data.sets import CalibrationSet, DataSource, EvaluationSet, draw, spaced
from harness.errors import DataError, nearest

log = logging.getLogger(__name__)
CALIBRATION_BATCH = 64  # images that are decoded together
HELD_OUT_SHARE = 5  # without train/ and val/, one image in five is for calibration
FINGERPRINT_FORM = 2  # raised when a fingerprint is of something else than before: ids of trials on folders change


class FileSource(DataSource):
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
        self._evaluated = frozenset(evaluated)
        self._drawn: dict[tuple[int, int], dict[str, str]] = {}
        self._labels: Labels | None = None
        self._decoding = Decoding()
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

    def decoded_by(self, decoding: Decoding) -> FileSource:
        """The same images, decoded another way."""
        source = copy.copy(self)
        source._decoding = decoding
        return source

    def unlabelled(self) -> FileSource:
        """The same images, whatever the class folders are called."""
        source = copy.copy(self)
        source._labels = Labels(dict.fromkeys(self.class_folders, 0), "no labels", "")
        return source

    def calibration(self, count: int, seed: int, preprocessing: Preprocessing) -> CalibrationSet:
        """Draw images from the calibration side and decode them."""
        index = draw(len(self._calibration), count, seed, self.name)
        images = ImageFiles(self._calibration, index, None, preprocessing)
        if self._keeps(preprocessing):
            fingerprint = self.calibration_fingerprint(count, seed)
            wanted = self._drawn_set(count, seed, preprocessing)
            decoded = self._kept(images, wanted, lambda found: _together(found) == fingerprint)
        else:
            decoded = StreamedSet(images, self._decoding.device)
        return CalibrationSet(torch.cat([batch for batch, _ in decoded.batches(CALIBRATION_BATCH)]))

    def calibration_at(self, index: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Decode images of the calibration side."""
        images = StreamedSet(ImageFiles(self._calibration, list(index), None, preprocessing), self._decoding.device)
        return torch.cat([batch for batch, _ in images.batches(CALIBRATION_BATCH)])

    def content_at(self, index: Sequence[int]) -> str:
        """Hash over the content of images of the calibration side."""
        return _together(self._hashes.of([self._calibration.names[i] for i in index]))

    def evaluation(self, limit: int | None, preprocessing: Preprocessing) -> EvaluationSet:
        """Stream images from the evaluation side."""
        labels = self._labels or labels_of(Wanted(self.class_folders, IMAGENET_CLASSES, self.name, "of ImageNet-1k"), None)
        images = ImageFiles(self._evaluation, spaced(len(self._evaluation), limit), labels.index, preprocessing)
        if not self._keeps(preprocessing):
            return StreamedSet(images, self._decoding.device)
        return self._kept(images, self._evaluated_set(limit, preprocessing), self._evaluated.issuperset)

    def decoded_sets(
        self, drawn: tuple[int, int] | None, limit: int | None, preprocessing: Preprocessing
    ) -> tuple[DecodedSet, ...]:
        """Evaluation images, and calibration images where some are drawn."""
        if not self._keeps(preprocessing):
            return ()
        calibration = () if drawn is None else (self._drawn_set(*drawn, preprocessing),)
        return (self._evaluated_set(limit, preprocessing), *calibration)

    def _keeps(self, preprocessing: Preprocessing) -> bool:
        """Whether decoded images are kept: only where that changes no bit."""
        return self._decoding.cache is not None and _exact(preprocessing, self._decoding.device)

    def _drawn_set(self, count: int, seed: int, preprocessing: Preprocessing) -> DecodedSet:
        content = f"calibration {self.calibration_fingerprint(count, seed)}"
        return DecodedSet(pixels_id(content, preprocessing), Shape(count, *preprocessing.input_size))

    def _evaluated_set(self, limit: int | None, preprocessing: Preprocessing) -> DecodedSet:
        count = len(spaced(len(self._evaluation), limit))
        content = f"evaluation {self.fingerprint} {count}"
        return DecodedSet(pixels_id(content, preprocessing), Shape(count, *preprocessing.input_size))

    def _kept(self, images: ImageFiles, wanted: DecodedSet, known: Callable[[list[str]], bool]) -> EvaluationSet:
        """Images whose pixels are kept, as long as the content of their files is the one that the fingerprint is of."""
        return KeptSet(images.as_pixels(), wanted, self._decoding, lambda: known(images.contents()))

    def calibration_fingerprint(self, count: int, seed: int) -> str:
        """Hash over the content of the drawn images."""
        return _together(list(self._content(count, seed).values()))

    def overlap(self, count: int, seed: int) -> tuple[str, ...]:
        """Drawn images whose bytes are those of some evaluation image, whatever their names; ``class/file``."""
        return tuple(name for name, sha256 in self._content(count, seed).items() if sha256 in self._evaluated)

    def _content(self, count: int, seed: int) -> dict[str, str]:
        """Hashes of the drawn images by name, in the order of the draw; the same for every trial of a sweep."""
        if (count, seed) not in self._drawn:
            names = [self._calibration.names[i] for i in draw(len(self._calibration), count, seed, self.name)]
            self._drawn[count, seed] = dict(zip(names, self._hashes.of(names), strict=True))
        return self._drawn[count, seed]


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


@cache
def _exact(preprocessing: Preprocessing, device: torch.device) -> bool:
    """Whether pixels may be kept; where not, a warning says why, once."""
    reason = inexact(preprocessing, device)
    if reason:
        log.warning("decoded images are not kept: %s", reason)
    return not reason


def _together(contents: list[str]) -> str:
    """One hash of several."""
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


def _held_out(name: str) -> bool:
    digest = hashlib.sha256(os.fsencode(os.path.basename(name))).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_SHARE == 0


def _fingerprint(calibration: Names, evaluation: Names, content: list[str]) -> str:
    """Hash over the names of both sides and the content of the evaluation side: copies of a data set agree."""
    digest = hashlib.sha256(f"images, form {FINGERPRINT_FORM}\0".encode())
    for names in calibration.marked(b"calibration\0"):
        digest.update(names)
    for name, sha256 in zip(evaluation, content, strict=True):
        digest.update(b"evaluation\0" + os.fsencode(name) + b"\0" + sha256.encode() + b"\0")
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
