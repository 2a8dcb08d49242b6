"""Images that are decoded once: from the cache where they are there, else decoded and put there by the first pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from harness.data.decoding import DecodedSet, Decoding, Readable, decoded, onto
from harness.data.pixel_cache import PixelCache
from harness.data.pixel_file import BrokenPixelsError, PixelFile
from harness.data.pixels import Normaliser
from harness.data.preprocessing import Preprocessing
from harness.data.sets import EvaluationSet
from harness.errors import DataError

log = logging.getLogger(__name__)


class PixelImages(Readable, Protocol):
    """Images that can be decoded to uint8 pixels, and what is known of them without that."""

    preprocessing: Preprocessing

    def label(self, index: int) -> int:
        """The label of an image."""


class KeptSet(EvaluationSet):
    """Images and labels, with pixels from the cache and normalised on the device.

    Args:
        images: Decodes them; gives uint8 pixels ``(c, h, w)``.
        wanted: The set's key and shape.
        decoding: With a cache.
        unchanged: Whether the files still have the content that the key is of.
    """

    def __init__(self, images: PixelImages, wanted: DecodedSet, decoding: Decoding, unchanged: Callable[[], bool]) -> None:
        assert decoding.cache is not None
        self._images = images
        self._wanted = wanted
        self._cache: PixelCache = decoding.cache
        self._device = decoding.device
        self._unchanged = unchanged

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images on the device and labels, in fixed order.

        Raises:
            DataError: A file cannot be read.
        """
        normalise = Normaliser(self._images.preprocessing, self._device)
        for pixels, labels in onto(self._device, self._pixels(size)):
            yield normalise(pixels), labels

    def _pixels(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        done, kept = 0, self._cache.open(self._wanted.key, self._wanted.shape)
        while kept is not None and done < len(self):
            pixels = self._read(kept, done, size)
            if pixels is None:
                break
            yield pixels, self._labels(done, len(pixels))
            done += len(pixels)
        if done < len(self):
            yield from self._decoded(size, done)

    def _read(self, kept: PixelFile, start: int, size: int) -> Tensor | None:
        """Pixels from the cache; None where its file turns out to be broken: the rest is decoded then."""
        try:
            return kept.read(start, min(start + size, len(self)))
        except (OSError, BrokenPixelsError) as error:
            self._cache.drop(self._wanted.key, error)
            return None

    def _labels(self, start: int, count: int) -> Tensor:
        return torch.tensor([self._images.label(index) for index in range(start, start + count)])

    def _decoded(self, size: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Decode, and keep what is complete; pixels of files that changed would have the name of another content."""
        writer = None if first else self._cache.begin(self._wanted.key, self._wanted.shape)
        if writer is None:
            yield from decoded(self._images, size, first)
            return
        try:
            for pixels, labels in decoded(self._images, size):
                writer.add(pixels)
                yield pixels, labels
            if self._as_hashed():
                writer.keep()
        finally:
            writer.discard()

    def _as_hashed(self) -> bool:
        try:
            same = self._unchanged()
        except DataError:  # a file went away after it was decoded
            same = False
        if not same:
            log.warning("decoded images are not kept: some files changed since they were hashed")
        return same
