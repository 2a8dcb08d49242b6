"""Open a data source by name: ``embedded``, ``photos``, a data set of timm's readers, or the path of an image folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from harness.data.content import Say, silent
from harness.data.folders import FolderSource
from harness.data.held_out import HeldOutSource
from harness.data.photographs import photographs
from harness.data.preprocessing import Preprocessing
from harness.data.reader_source import ReaderSource
from harness.data.sets import CalibrationSet, DataSource, EvaluationSet, TensorEvaluationSet, draw, spaced
from harness.embedded import assets
from harness.text import user_path
from harness.trial.identity import tensors_sha256
from harness.trial.readers import reader_data
from harness.trial.spec import EMBEDDED, HELD_OUT, PHOTOS, TrialSpec


class EmbeddedSource(DataSource):
    """Fashion-MNIST: 2,000 training images for calibration, all 10,000 test images for evaluation.

    No image is on both sides; a test compares them.
    """

    name = EMBEDDED
    split = "calibration from 2,000 training images, evaluation on the 10,000 test images"
    classes = len(assets.CLASSES)

    @cached_property
    def _arrays(self) -> dict[str, torch.Tensor]:
        with np.load(assets.IMAGES, allow_pickle=False) as archive:
            return {name: torch.from_numpy(archive[name]) for name in archive.files}

    @cached_property
    def fingerprint(self) -> str:  # type: ignore[override]
        """Hash of the arrays."""
        return tensors_sha256(self._arrays)

    @property
    def calibration_size(self) -> int:
        """2,000."""
        return len(self._arrays["calibration_images"])

    def calibration(self, count: int, seed: int, preprocessing: Preprocessing) -> CalibrationSet:
        """Draw training images."""
        return CalibrationSet(self.calibration_at(draw(self.calibration_size, count, seed, self.name), preprocessing))

    def calibration_at(self, index: Sequence[int], preprocessing: Preprocessing) -> torch.Tensor:
        """Training images by their numbers."""
        return preprocessing.from_bytes(self._arrays["calibration_images"][list(index)])

    @property
    def evaluation_size(self) -> int:
        """10,000."""
        return len(self._arrays["evaluation_labels"])

    def evaluation(self, limit: int | None, preprocessing: Preprocessing) -> EvaluationSet:
        """Test images."""
        index = spaced(self.evaluation_size, limit)
        images = preprocessing.from_bytes(self._arrays["evaluation_images"][index])
        return TensorEvaluationSet(images, self._arrays["evaluation_labels"][index].long())


def open_source(name: str, say: Say = silent) -> DataSource:
    """The data source of that name or path.

    Args:
        name: ``embedded``, ``photos``, a data set of a reader (``hfds/NAME``), or a path.
        say: Gets a line of text now and then when opening takes more than a few seconds.

    Raises:
        DataError: The path is no usable image folder, the data set cannot be opened, or the photographs are not there.
    """
    asked = reader_data(name)
    if asked is not None:
        return ReaderSource(asked, say)
    if name == PHOTOS:
        return photographs(say)
    return EmbeddedSource() if name == EMBEDDED else FolderSource(user_path(name), say)


def open_judged(spec: TrialSpec, say: Say = silent) -> DataSource:
    """The data of a trial; where held-out calibration images judge it, the calibration side in two parts.

    Raises:
        DataError: As ``open_source``, or there are too few calibration images to part.
    """
    source = open_source(spec.data, say)
    return HeldOutSource(source) if spec.judge == HELD_OUT else source
