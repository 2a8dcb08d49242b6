"""Data sources whose images are decoded, here or from the cache, and known by the SHA-256 of their content."""

from __future__ import annotations

import copy
import hashlib
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Protocol, Self

import torch
from torch import Tensor

from harness.data.decoding import DecodedSet, Decoding, Readable
from harness.data.image_files import StreamedSet
from harness.data.kept_set import KeptSet, PixelImages
from harness.data.pixel_file import Shape
from harness.data.pixels import inexact, pixels_id
from harness.data.preprocessing import Preprocessing
from harness.data.sets import CalibrationSet, DataSource, EvaluationSet, draw, spaced

log = logging.getLogger(__name__)
CALIBRATION_BATCH = 64  # images that are decoded together


class Images(Readable, Protocol):
    """Images as the network's input."""

    def as_pixels(self) -> PixelImages:
        """The same images as uint8 pixels after the crop."""

    def contents(self) -> list[str]:
        """SHA-256 of each as it is now."""


class DecodedSource(DataSource):
    """Images on two sides. A subclass says where they are and what they are known by."""

    def __init__(self, evaluated: Sequence[str]) -> None:
        self._evaluated = frozenset(evaluated)
        self._size = len(evaluated)
        self._drawn: dict[tuple[int, int], Mapping[str, str]] = {}
        self._decoding = Decoding()

    @abstractmethod
    def _calibration_images(self, index: Sequence[int], preprocessing: Preprocessing) -> Images:
        """Images of the calibration side."""

    @abstractmethod
    def _evaluation_images(self, index: Sequence[int], preprocessing: Preprocessing) -> Images:
        """Images of the evaluation side, with labels."""

    @abstractmethod
    def _contents(self, index: Sequence[int]) -> Mapping[str, str]:
        """SHA-256 of images of the calibration side by their names, in order.

        Raises:
            DataError: An image cannot be read.
        """

    def decoded_by(self, decoding: Decoding) -> Self:
        """The same images, decoded another way."""
        source = copy.copy(self)
        source._decoding = decoding
        return source

    def calibration(self, count: int, seed: int, preprocessing: Preprocessing) -> CalibrationSet:
        """Draw images from the calibration side and decode them."""
        index = draw(self.calibration_size, count, seed, self.name)
        fingerprint = partial(self.calibration_fingerprint, count, seed)
        return CalibrationSet(_all(self._of_calibration(index, fingerprint, preprocessing)))

    def calibration_at(self, index: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Decode images of the calibration side."""
        return _all(self.calibration_set(index, preprocessing))

    def calibration_set(self, index: Sequence[int], preprocessing: Preprocessing) -> EvaluationSet:
        """Stream images of the calibration side; labels mean nothing."""
        return self._of_calibration(index, partial(self.content_at, index), preprocessing)

    def decoded_sets_at(self, index: Sequence[int], preprocessing: Preprocessing) -> tuple[DecodedSet, ...]:
        """One."""
        if not self._keeps(preprocessing):
            return ()
        return (_calibration_set(self.content_at(index), len(index), preprocessing),)

    def content_at(self, index: Sequence[int]) -> str:
        """Hash over the content of images of the calibration side."""
        return together(self._contents(index).values())

    @property
    def evaluation_size(self) -> int:
        """Images of the evaluation side."""
        return self._size

    def evaluation(self, limit: int | None, preprocessing: Preprocessing) -> EvaluationSet:
        """Stream images from the evaluation side."""
        images = self._evaluation_images(spaced(self.evaluation_size, limit), preprocessing)
        if not self._keeps(preprocessing):
            return StreamedSet(images, self._decoding.device)
        return self._kept(images, self._evaluated_set(limit, preprocessing), self._evaluated.issuperset)

    def decoded_sets(
        self, drawn: tuple[int, int] | None, limit: int | None, preprocessing: Preprocessing
    ) -> tuple[DecodedSet, ...]:
        """Evaluation images, and calibration images where some are drawn."""
        if not self._keeps(preprocessing):
            return ()
        calibration = (
            () if drawn is None else (_calibration_set(self.calibration_fingerprint(*drawn), drawn[0], preprocessing),)
        )
        return (self._evaluated_set(limit, preprocessing), *calibration)

    def _keeps(self, preprocessing: Preprocessing) -> bool:
        """Whether decoded images are kept: only where that changes no bit."""
        return self._decoding.cache is not None and _exact(preprocessing, self._decoding.device)

    def _of_calibration(
        self, index: Sequence[int], fingerprint: Callable[[], str], preprocessing: Preprocessing
    ) -> EvaluationSet:
        """Images of the calibration side, kept where that changes no bit; the fingerprint is asked for only then."""
        images = self._calibration_images(index, preprocessing)
        if not self._keeps(preprocessing):
            return StreamedSet(images, self._decoding.device)
        content = fingerprint()
        wanted = _calibration_set(content, len(index), preprocessing)
        return self._kept(images, wanted, lambda found: together(found) == content)

    def _evaluated_set(self, limit: int | None, preprocessing: Preprocessing) -> DecodedSet:
        count = len(spaced(self.evaluation_size, limit))
        content = f"evaluation {self.fingerprint} {count}"
        return DecodedSet(pixels_id(content, preprocessing), Shape(count, *preprocessing.input_size))

    def _kept(self, images: Images, wanted: DecodedSet, known: Callable[[list[str]], bool]) -> EvaluationSet:
        """Images whose pixels are kept, as long as their content is the one that the fingerprint is of."""
        return KeptSet(images.as_pixels(), wanted, self._decoding, lambda: known(images.contents()))

    def calibration_fingerprint(self, count: int, seed: int) -> str:
        """Hash over the content of the drawn images."""
        return together(self._content(count, seed).values())

    def overlap(self, count: int, seed: int) -> tuple[str, ...]:
        """Names of drawn images whose content is that of some evaluation image."""
        return tuple(name for name, sha256 in self._content(count, seed).items() if sha256 in self._evaluated)

    def _content(self, count: int, seed: int) -> Mapping[str, str]:
        """Hashes of the drawn images by name, in the order of the draw; the same for every trial of a sweep."""
        if (count, seed) not in self._drawn:
            self._drawn[count, seed] = self._contents(draw(self.calibration_size, count, seed, self.name))
        return self._drawn[count, seed]


def together(contents: Iterable[str]) -> str:
    """One hash of several."""
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


def _calibration_set(content: str, count: int, preprocessing: Preprocessing) -> DecodedSet:
    """Images of a calibration side in the cache, by the hash of their content."""
    return DecodedSet(pixels_id(f"calibration {content}", preprocessing), Shape(count, *preprocessing.input_size))


def _all(images: EvaluationSet) -> Tensor:
    return torch.cat([batch for batch, _ in images.batches(CALIBRATION_BATCH)])


@cache
def _exact(preprocessing: Preprocessing, device: torch.device) -> bool:
    """Whether pixels may be kept; where not, a warning says why, once."""
    reason = inexact(preprocessing, device)
    if reason:
        log.warning("decoded images are not kept: %s", reason)
    return not reason
