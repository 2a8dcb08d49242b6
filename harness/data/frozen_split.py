"""A fixed split of training-side images for choices of defaults: a part to calibrate from, the rest held out, no labels.

Whoever chooses a default by looking at evaluation images reports a result that no user will see again. So choices are
made here: of the images in ``train/`` two thirds may be drawn for calibration and one third judges, by how near the
quantized logits are to full precision. Class folders are not looked at, and ``val/`` is never opened.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from harness.data.held_out import SHARE, pool_size
from harness.data.image_file import read_image
from harness.data.preprocessing import Preprocessing
from harness.data.sets import CalibrationSet, draw
from harness.data.sources import open_source
from harness.errors import DataError
from harness.text import user_path
from harness.trial.spec import EMBEDDED, PHOTOS

SUFFIXES = (".jpg", ".jpeg", ".png")
FROZEN_SEED = 20260  # of the embedded images' order; never to be changed


@dataclass(frozen=True)
class FrozenSplit:
    """Images of a fixed split.

    Attributes:
        name: Where they are from.
        pool: What calibration may draw from, ``(n, c, h, w)``, in fixed order.
        held_out: What judges, ``(m, c, h, w)``.
    """

    name: str
    pool: Tensor
    held_out: Tensor

    def calibration(self, count: int, seed: int) -> CalibrationSet:
        """Draw ``count`` images of the pool by ``seed``.

        Raises:
            DataError: There are not that many.
        """
        return CalibrationSet(self.pool[draw(len(self.pool), count, seed, f"the frozen split of {self.name}")])


def parted_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The image files below a folder: the pool and those held out, by the order of a hash of their names.

    Raises:
        DataError: There are fewer than three.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
    if len(files) < SHARE:
        raise DataError(f"{len(files)} images below {str(folder)!r}, a frozen split needs {SHARE} at least")
    ordered = sorted(files, key=lambda path: (hashlib.sha256(os.fsencode(path.name)).digest(), path.name))
    count = pool_size(len(ordered))
    return ordered[:count], ordered[count:]


def frozen_split(data: str, preprocessing: Preprocessing) -> FrozenSplit:
    """The split of a data folder's ``train/``, or of the calibration images of built-in data.

    Args:
        data: ``embedded``, ``photos``, or a folder that has ``train/`` with images at any depth.
        preprocessing: Of the network.

    Raises:
        DataError: The folder has no ``train/``, too few images, or one that cannot be read.
    """
    if data in (EMBEDDED, PHOTOS):
        source = open_source(data)
        images = source.calibration(source.calibration_size, FROZEN_SEED, preprocessing).images
        count = pool_size(len(images))
        return FrozenSplit(data, images[:count], images[count:])
    train = user_path(data) / "train"
    if not train.is_dir():
        raise DataError(f"{data!r} has no folder train/", "choices of defaults are made on training-side images only")
    pool, held_out = parted_files(train)
    return FrozenSplit(data, _read(pool, preprocessing), _read(held_out, preprocessing))


def _read(files: list[Path], preprocessing: Preprocessing) -> Tensor:
    transform, mode = preprocessing.transform(), "L" if preprocessing.input_size[0] == 1 else "RGB"
    return torch.stack([transform(read_image(str(path), mode)) for path in files])
