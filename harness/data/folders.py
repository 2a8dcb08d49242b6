"""Image files: two sides of files, and folders of them with ``train/`` and ``val/`` or one tree of class folders."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from harness.data.content import ContentHashes, Say, silent
from harness.data.image_file import read_image, unreadable
from harness.data.labels import IMAGENET_CLASSES, Labels, Wanted, labels_of
from harness.data.listing import Side, scan
from harness.data.names import Names
from harness.data.preprocessing import Preprocessing
from harness.data.sets import CalibrationSet, DataSource, EvaluationSet, draw, spaced
from harness.errors import DataError, nearest

WORKER_THRESHOLD = 2000
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

    def calibration(self, count: int, seed: int, preprocessing: Preprocessing) -> CalibrationSet:
        """Draw images from the calibration side and decode them."""
        return CalibrationSet(self.calibration_at(draw(len(self._calibration), count, seed, self.name), preprocessing))

    def calibration_at(self, index: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Decode images of the calibration side."""
        images = _Images(self._calibration, list(index), preprocessing, {})
        return torch.stack([images.read(i) for i in range(len(images))])

    def content_at(self, index: Sequence[int]) -> str:
        """Hash over the content of images of the calibration side."""
        return _hashed(self._hashes.of([self._calibration.names[i] for i in index]))

    def evaluation(self, limit: int | None, preprocessing: Preprocessing) -> EvaluationSet:
        """Stream images from the evaluation side."""
        labels = self._labels or labels_of(Wanted(self.class_folders, IMAGENET_CLASSES, self.name, "of ImageNet-1k"), None)
        index = spaced(len(self._evaluation), limit)
        return _StreamedSet(_Images(self._evaluation, index, preprocessing, labels.index))

    def calibration_fingerprint(self, count: int, seed: int) -> str:
        """Hash over the content of the drawn images."""
        return _hashed(self._content(count, seed).values())

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


class _Images(Dataset[tuple[Tensor, int] | DataError]):
    """Decodes and preprocesses image files; ``labels`` by class folder."""

    def __init__(self, side: Side, index: list[int], preprocessing: Preprocessing, labels: Mapping[str, int]) -> None:
        self.side = side
        self.index = index
        self.labels = labels
        self.transform = preprocessing.transform()
        self.mode = "L" if preprocessing.input_size[0] == 1 else "RGB"

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> tuple[Tensor, int] | DataError:
        """An image and its label; an error as a value, because a worker process would send it on as a traceback."""
        try:
            return self.read(index), self.labels[self.side.class_of(self.index[index])]
        except DataError as error:
            return error

    def read(self, index: int) -> Tensor:
        """An image.

        Raises:
            DataError: The file cannot be read, or preprocessing leaves nothing of it.
        """
        path = self.side.path(self.index[index])
        image = read_image(path, self.mode)
        try:
            return self.transform(image)
        except ValueError as error:  # an edge of no pixels after resizing
            raise unreadable(path, error) from error


class _StreamedSet(EvaluationSet):
    """Evaluation images decoded while they are needed, by worker processes when there are many."""

    def __init__(self, images: _Images) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels in fixed order."""
        workers = min(8, os.cpu_count() or 1) if len(self._images) > WORKER_THRESHOLD else 0
        for batch in DataLoader(self._images, batch_size=size, num_workers=workers, collate_fn=_collated):
            if isinstance(batch, DataError):
                raise batch
            images, labels = batch
            yield images, labels


def _collated(items: list[tuple[Tensor, int] | DataError]) -> list[Tensor] | DataError:
    """A batch, or the first error in it."""
    error = next((item for item in items if isinstance(item, DataError)), None)
    return default_collate(items) if error is None else error


def _hashed(content: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(content).encode()).hexdigest()


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
