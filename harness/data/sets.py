"""The two kinds of image sets. A calibration set has no labels, so methods cannot use any."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from harness.data.decoding import DecodedSet, Decoding
from harness.data.preprocessing import Preprocessing
from harness.errors import DataError

UNLABELLED = -1  # the label of an image that full precision judges


class CalibrationSet:
    """Preprocessed calibration images without labels.

    Args:
        images: ``(n, c, h, w)`` float32.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, size: int, *, drop_incomplete: bool = False) -> Iterator[Tensor]:
        """Batches of ``size`` images in fixed order; a set smaller than ``size`` is one batch."""
        for start in range(0, len(self.images), size):
            batch = self.images[start : start + size]
            if len(batch) == size or start == 0 or not drop_incomplete:
                yield batch


class EvaluationSet(ABC):
    """Evaluation images with labels; only the evaluator reads them."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images ``(n, c, h, w)`` and labels ``(n,)`` in fixed order."""


class DataSource(ABC):
    """A data set with a calibration side and an evaluation side; ``overlap`` names images that are on both.

    Attributes:
        name: What the user called it.
        fingerprint: Hash of its content; part of a trial's identity.
        split: How the two sides were separated.
        classes: Number of outputs that the labels are of.
        labels: How class folders became labels, for people; empty where the data has labels of its own.
        labels_sha256: Hash of which class folder is which output; empty where ``fingerprint`` decides it.
    """

    name: str
    fingerprint: str
    split: str
    classes: int
    labels: str = ""
    labels_sha256: str = ""

    def labelled(self, outputs: int, model: str, classes: str | None = None) -> DataSource:
        """The same images with labels for a network.

        Args:
            outputs: Its number of logits.
            model: What it is called.
            classes: Which class folder is which output: ``timm``, ``torchvision`` or a file; None for the rule.

        Raises:
            DataError: Network and data do not belong together, or ``classes`` cannot be used.
        """
        if classes is not None:
            raise DataError(f"classes {classes!r} are for image folders, data {self.name!r} has labels of its own")
        if outputs != self.classes:
            raise DataError(
                f"model {model} has {outputs} classes, data {self.name!r} has {self.classes}",
                "choose a model and data that belong together (--model, --data)",
            )
        return self

    def unlabelled(self) -> DataSource:
        """The same images for who reads no labels: those of the evaluation set mean nothing."""
        return self

    def decoded_by(self, decoding: Decoding) -> DataSource:
        """The same images, decoded another way; no value depends on it. Itself where nothing is decoded."""
        return self

    def decoded_sets(
        self, drawn: tuple[int, int] | None, limit: int | None, preprocessing: Preprocessing
    ) -> tuple[DecodedSet, ...]:
        """What of a trial's images the cache keeps, or would keep.

        Args:
            drawn: Count and seed of the calibration images; None where they do not come from the data.
            limit: Of evaluation images.
            preprocessing: Of the network.

        Raises:
            DataError: As ``calibration_fingerprint``.
        """
        return ()

    @property
    @abstractmethod
    def calibration_size(self) -> int:
        """Number of images that calibration may draw from."""

    @abstractmethod
    def calibration(self, count: int, seed: int, preprocessing: Preprocessing) -> CalibrationSet:
        """Draw ``count`` images by ``seed``, without labels.

        Raises:
            DataError: ``count`` is not between 1 and ``calibration_size``, or an image cannot be read.
        """

    def calibration_at(self, index: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Some images of the calibration side, ``(n, c, h, w)`` float32, by their numbers from 0.

        Raises:
            DataError: An image cannot be read, or this kind of data has no numbers for its images.
        """
        raise DataError(f"data {self.name!r} cannot be parted", "judge by its evaluation images, without --judge held_out")

    def calibration_set(self, index: Sequence[int], preprocessing: Preprocessing) -> EvaluationSet:
        """The same images one batch after the other, decoded while they are needed, or kept; their labels mean nothing.

        Raises:
            DataError: As ``calibration_at``.
        """
        return _NumberedSet(self, index, preprocessing)

    def decoded_sets_at(self, index: Sequence[int], preprocessing: Preprocessing) -> tuple[DecodedSet, ...]:
        """What the cache keeps, or would keep, of ``calibration_set``.

        Raises:
            DataError: As ``content_at``.
        """
        return ()

    def content_at(self, index: Sequence[int]) -> str:
        """Hash over the content of these images; empty where ``fingerprint`` covers all images.

        Raises:
            DataError: An image cannot be read.
        """
        return ""

    @property
    @abstractmethod
    def evaluation_size(self) -> int:
        """Number of images that evaluation has without a limit."""

    @abstractmethod
    def evaluation(self, limit: int | None, preprocessing: Preprocessing) -> EvaluationSet:
        """The evaluation images; with a limit, an evenly spaced choice of them."""

    def calibration_fingerprint(self, count: int, seed: int) -> str:
        """Hash over the content of the images that ``calibration`` draws; empty where ``fingerprint`` covers all images.

        Raises:
            DataError: ``count`` is not between 1 and ``calibration_size``, or an image cannot be read.
        """
        return ""

    def overlap(self, count: int, seed: int) -> tuple[str, ...]:
        """Names of the images that ``calibration`` draws and that are evaluation images too, compared by content.

        Raises:
            DataError: As ``calibration_fingerprint``.
        """
        return ()


def draw(available: int, count: int, seed: int, name: str) -> list[int]:
    """Indices of a random draw without replacement; a smaller count gives a prefix of the larger one's draw.

    Raises:
        DataError: ``count`` is not between 1 and ``available``.
    """
    check_count(available, count, name)
    return [int(index) for index in np.random.default_rng(seed).permutation(available)[:count]]


def check_count(available: int, count: int, name: str) -> None:
    """Refuse a calibration size that a data source cannot serve.

    Raises:
        DataError: ``count`` is not between 1 and ``available``.
    """
    if not 1 <= count <= available:
        raise DataError(f"{count} calibration images asked for, expected 1 to {available}: {name} has {available}")


def spaced(available: int, limit: int | None) -> list[int]:
    """Evenly spaced indices: every class keeps its share when images are sorted by class.

    Raises:
        DataError: The limit is not positive.
    """
    check_limit(limit)
    if limit is None or limit >= available:
        return list(range(available))
    return [int(i * available / limit) for i in range(limit)]


def check_limit(limit: int | None) -> None:
    """Refuse an evaluation limit below one.

    Raises:
        DataError: The limit is not positive.
    """
    if limit is not None and limit < 1:
        raise DataError(f"evaluation limit {limit} is not possible: expected at least 1")


def right_classes(labels: Tensor, full_precision: Tensor) -> Tensor:
    """Labels ``(n,)``, and where there are none the class that full precision predicts.

    Args:
        labels: Class indices, or ``UNLABELLED``.
        full_precision: Logits ``(n, classes)``.
    """
    return torch.where(labels == UNLABELLED, full_precision.argmax(1), labels)


class _NumberedSet(EvaluationSet):
    """Images of a calibration side, made batch by batch."""

    def __init__(self, source: DataSource, index: Sequence[int], preprocessing: Preprocessing) -> None:
        self._source, self._index, self._preprocessing = source, index, preprocessing

    def __len__(self) -> int:
        return len(self._index)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images, and ``UNLABELLED`` for each."""
        for start in range(0, len(self._index), size):
            part = self._index[start : start + size]
            yield self._source.calibration_at(part, self._preprocessing), torch.full((len(part),), UNLABELLED)


class TensorEvaluationSet(EvaluationSet):
    """Evaluation images that lie in memory.

    Args:
        images: ``(n, c, h, w)`` float32, preprocessed.
        labels: ``(n,)`` class indices.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._images = images
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels in fixed order."""
        yield from zip(torch.split(self._images, size), torch.split(self._labels, size), strict=True)
