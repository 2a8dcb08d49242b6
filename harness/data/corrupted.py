"""Evaluation images under ImageNet-C's corruptions, by the library ``imagecorruptions`` (extra ``corruptions``).

A corruption acts on what the network would see: resized, cropped, 8-bit pixels, as in ImageNet-C. What is random in it is
drawn from the image's place, the corruption and its severity, so that both precisions, all trials and any batch size see the
same pixels.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.data.preprocessing import Preprocessing
from harness.data.sets import EvaluationSet
from harness.errors import UsageError
from harness.trial.corruptions import Corruption

LIBRARY, DISTRIBUTION, EXTRA = "imagecorruptions", "imagecorruptions-imaug", "corruptions"
SMALLEST = 32  # pixels: what the library takes
SEEDED = ("impulse_noise", "glass_blur")  # take a seed of their own, all others use numpy's global generator
Pixels = np.ndarray
Corrupt = Callable[..., Any]


def check_library() -> None:
    """Refuse corruptions where their library is not installed.

    Raises:
        UsageError: It is not.
    """
    if importlib.util.find_spec(LIBRARY) is None:
        raise UsageError(f"{LIBRARY} is not installed, which --corrupt needs", f"pip install 'ptq-harness[{EXTRA}]'")


def library() -> str:
    """Name and version of the library, for records: other versions may draw other pixels."""
    try:
        return f"{DISTRIBUTION} {importlib.metadata.version(DISTRIBUTION)}"
    except importlib.metadata.PackageNotFoundError:  # the original distribution has the same module
        return LIBRARY


class CorruptedSet(EvaluationSet):
    """The same images and labels in the same order, corrupted.

    Args:
        clean: The images.
        corruption: What is done to them.
        preprocessing: How their pixels became the network's input.

    Raises:
        UsageError: The library is not installed, or the network's input is neither grey nor in colour.
    """

    def __init__(self, clean: EvaluationSet, corruption: Corruption, preprocessing: Preprocessing) -> None:
        check_library()
        channels = preprocessing.input_size[0]
        if channels not in (1, 3):
            raise UsageError(f"--corrupt is for images with 1 or 3 channels, this network's input has {channels}")
        self._clean, self._corruption, self._preprocessing = clean, corruption, preprocessing
        self._corrupt: Corrupt = importlib.import_module(LIBRARY).corrupt

    def __len__(self) -> int:
        return len(self._clean)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Corrupted images and labels in fixed order."""
        start = 0
        for images, labels in self._clean.batches(size):
            pixels = self._bytes(images)
            made = np.stack([self._one(image, start + place) for place, image in enumerate(pixels)])
            start += len(images)
            yield self._input(made), labels

    def _bytes(self, images: Tensor) -> Pixels:
        """Network inputs ``(n, c, h, w)`` as 8-bit pixels ``(n, h, w, c)``."""
        mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in self._moments)
        pixels = ((images * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
        found: Pixels = pixels.permute(0, 2, 3, 1).numpy()
        return found

    def _input(self, pixels: Pixels) -> Tensor:
        """The inverse of ``_bytes``."""
        return self._preprocessing.normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)

    @property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self._preprocessing.mean, self._preprocessing.std

    def _one(self, image: Pixels, place: int) -> Pixels:
        """One image ``(h, w, c)``; smaller ones than the library takes are continued by reflection meanwhile."""
        height, width, channels = image.shape
        down, right = max(0, SMALLEST - height), max(0, SMALLEST - width)
        whole = np.pad(image, ((0, down), (0, right), (0, 0)), mode="symmetric")
        name, severity = self._corruption
        seed = zlib.crc32(f"{name}:{severity}:{place}".encode())
        with _seeded(seed):
            more = {"seed": seed} if name in SEEDED else {}
            made = self._corrupt(whole, corruption_name=name, severity=severity, **more)
        found: Pixels = made[:height, :width]
        if channels != found.shape[2]:  # the library gives colour for grey images too
            found = found.mean(2, keepdims=True).round().astype(np.uint8)
        return found


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Numpy's global generator in a known state, which the library draws from; left as it was found."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
