"""Image folders: ``train/`` and ``val/``, each with one folder per class named by its WordNet id (or class index)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from timm.data import ImageNetInfo
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.data.preprocessing import Preprocessing
from harness.data.sets import CalibrationSet, DataSource, EvaluationSet, draw, spaced
from harness.errors import DataError, nearest

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm")
IMAGENET_CLASSES = 1000
WORKER_THRESHOLD = 2000
HELD_OUT_SHARE = 5  # without train/ and val/, one image in five is for calibration


@dataclass(frozen=True)
class Sample:
    """One image file and its class index."""

    path: Path
    label: int


class FolderSource(DataSource):
    """A folder with ``train/`` and ``val/``, or one tree of class folders that is split by a hash of the file name.

    Args:
        root: The folder.

    Raises:
        DataError: It does not exist, has no images, or a class folder cannot be mapped to a class.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DataError(f"data folder {str(root)!r} does not exist", _neighbours(root))
        self.name = str(root)
        self.classes = IMAGENET_CLASSES
        train, val = root / "train", next((root / n for n in ("val", "validation", "test") if (root / n).is_dir()), None)
        if train.is_dir() and val is not None:
            self._calibration, self._evaluation = scan(train), scan(val)
            self.split = f"calibration from {train.name}/, evaluation from {val.name}/"
        else:
            samples = scan(root)
            self._calibration = [sample for sample in samples if _held_out(sample)]
            self._evaluation = [sample for sample in samples if not _held_out(sample)]
            self.split = f"by hash of the file name: one image in {HELD_OUT_SHARE} for calibration, the rest for evaluation"
        self.fingerprint = _fingerprint(root, [*self._calibration, *self._evaluation])

    @property
    def calibration_size(self) -> int:
        """Number of images on the calibration side."""
        return len(self._calibration)

    def calibration(self, count: int, seed: int, preprocessing: Preprocessing) -> CalibrationSet:
        """Draw images from the calibration side and decode them."""
        index = draw(len(self._calibration), count, seed, self.name)
        images = _Images([self._calibration[i] for i in index], preprocessing)
        return CalibrationSet(torch.stack([images[i][0] for i in range(len(images))]))

    def evaluation(self, limit: int | None, preprocessing: Preprocessing) -> EvaluationSet:
        """Stream images from the evaluation side."""
        index = spaced(len(self._evaluation), limit)
        return _StreamedSet(_Images([self._evaluation[i] for i in index], preprocessing))


class _Images(Dataset[tuple[Tensor, int]]):
    """Decodes and preprocesses image files."""

    def __init__(self, samples: list[Sample], preprocessing: Preprocessing) -> None:
        self.samples = samples
        self.transform: Callable[[Any], Tensor] = preprocessing.transform()
        self.mode = "L" if preprocessing.input_size[0] == 1 else "RGB"

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        sample = self.samples[index]
        try:
            with Image.open(sample.path) as image:
                return self.transform(image.convert(self.mode)), sample.label
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(f"image {str(sample.path)!r} cannot be read: {error}") from error


class _StreamedSet(EvaluationSet):
    """Evaluation images decoded while they are needed, by worker processes when there are many."""

    def __init__(self, images: _Images) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels in fixed order."""
        workers = min(8, os.cpu_count() or 1) if len(self._images) > WORKER_THRESHOLD else 0
        yield from DataLoader(self._images, batch_size=size, num_workers=workers)


def scan(folder: Path) -> list[Sample]:
    """All images below the class folders of ``folder``, sorted by path.

    Raises:
        DataError: There are no images, or class folders that are neither WordNet ids nor class indices.
    """
    wnids = _class_index()
    folders = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    unknown = [entry.name for entry in folders if entry.name not in wnids]
    if unknown:
        raise DataError(
            f"{len(unknown)} class folder(s) of {str(folder)!r} are no ImageNet-1k class, first {unknown[0]!r}",
            "expected WordNet ids such as n01440764, or class indices 0 to 999",
        )
    samples = [
        Sample(path, wnids[entry.name])
        for entry in folders
        for path in sorted(entry.iterdir())
        if path.suffix.lower() in EXTENSIONS
    ]
    if not samples:
        raise DataError(f"no images in {str(folder)!r}: expected class folders with {', '.join(EXTENSIONS)} files")
    return samples


def _class_index() -> dict[str, int]:
    labels = ImageNetInfo("imagenet-1k").label_names()
    return {name: i for i, name in enumerate(labels)} | {str(i): i for i in range(len(labels))}


def _held_out(sample: Sample) -> bool:
    digest = hashlib.sha256(sample.path.name.encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_SHARE == 0


def _fingerprint(root: Path, samples: list[Sample]) -> str:
    """Hash of relative paths and sizes: cheap on 50,000 files, and two copies of a data set agree."""
    digest = hashlib.sha256()
    for sample in sorted(samples, key=lambda sample: sample.path):
        digest.update(f"{sample.path.relative_to(root).as_posix()}|{sample.path.stat().st_size}\n".encode())
    return digest.hexdigest()


def _neighbours(root: Path) -> str:
    parent = root.parent
    hint = "give a folder with train/ and val/, or one folder per class, or the word embedded"
    if not parent.is_dir():
        return hint
    close = nearest(root.name, [entry.name for entry in parent.iterdir() if entry.is_dir()])
    return hint + "." + close if close else hint
