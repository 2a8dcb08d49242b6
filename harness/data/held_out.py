"""A data set's calibration side in two parts: one calibrates, the other judges, without labels.

Whoever chooses a stack by its accuracy on evaluation images reports a number that no user will see again. So choices are
made here: full precision says what is right, and the evaluation side is never opened.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from harness.data.decoding import DecodedSet, Decoding
from harness.data.preprocessing import Preprocessing
from harness.data.sets import UNLABELLED, CalibrationSet, DataSource, EvaluationSet, draw, spaced
from harness.errors import DataError

SHARE = 3  # one image in three judges
SEED = 20260  # of the parting; raised together with FORM, never alone
FORM = 1  # of the parting; part of the fingerprint


def pool_size(images: int) -> int:
    """How many of so many calibration images calibrate; the others judge."""
    return images - images // SHARE


class HeldOutSource(DataSource):
    """The calibration side of a data source, parted by a fixed draw: two thirds calibrate, one third judges.

    Args:
        source: The whole. Its evaluation side and its labels are not used.

    Raises:
        DataError: There are fewer than three calibration images.
    """

    def __init__(self, source: DataSource) -> None:
        size = source.calibration_size
        if size < SHARE:
            raise DataError(f"{source.name} has {size} calibration images, a held-out third needs {SHARE} at least")
        order = [int(index) for index in np.random.default_rng(SEED).permutation(size)]
        self._source = source
        self._pool, self._judges = order[: pool_size(size)], order[pool_size(size) :]
        self.name, self.classes = source.name, source.classes
        self.split = f"calibration images parted: {len(self._pool)} calibrate, {len(self._judges)} judge, without labels"
        self.fingerprint = hashlib.sha256(f"held out, form {FORM}\0{source.fingerprint}".encode()).hexdigest()

    def labelled(self, outputs: int, model: str, classes: str | None = None) -> DataSource:
        """Itself: full precision says what is right."""
        return self

    @property
    def calibration_size(self) -> int:
        """Two thirds of the whole's."""
        return len(self._pool)

    def calibration(self, count: int, seed: int, preprocessing: Preprocessing) -> CalibrationSet:
        """Draw images of the first part."""
        return CalibrationSet(self._source.calibration_at(self._drawn(count, seed), preprocessing))

    def calibration_fingerprint(self, count: int, seed: int) -> str:
        """Hash over the content of the drawn images."""
        return self._source.content_at(self._drawn(count, seed))

    @property
    def evaluation_size(self) -> int:
        """One third of the whole's calibration images."""
        return len(self._judges)

    def evaluation(self, limit: int | None, preprocessing: Preprocessing) -> EvaluationSet:
        """The second part, or evenly spaced images of it."""
        return _Unlabelled(self._source.calibration_set(self._judging(limit), preprocessing))

    def decoded_by(self, decoding: Decoding) -> HeldOutSource:
        """The same parts, with images that the whole decodes another way."""
        source = copy.copy(self)
        source._source = self._source.decoded_by(decoding)
        return source

    def decoded_sets(
        self, drawn: tuple[int, int] | None, limit: int | None, preprocessing: Preprocessing
    ) -> tuple[DecodedSet, ...]:
        """Judging images, and calibration images where some are drawn."""
        parts = [self._judging(limit), *([] if drawn is None else [self._drawn(*drawn)])]
        return tuple(one for index in parts for one in self._source.decoded_sets_at(index, preprocessing))

    def _judging(self, limit: int | None) -> list[int]:
        return [self._judges[index] for index in spaced(len(self._judges), limit)]

    def _drawn(self, count: int, seed: int) -> list[int]:
        return [self._pool[i] for i in draw(len(self._pool), count, seed, f"two thirds of {self.name}")]


class _Unlabelled(EvaluationSet):
    """Images of a calibration side, whatever labels they came with."""

    def __init__(self, images: EvaluationSet) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images, and ``UNLABELLED`` for each."""
        for images, labels in self._images.batches(size):
            yield images, torch.full_like(labels, UNLABELLED)
