"""Where timm's evaluation transform is still whole numbers: the image after decoding, resizing and cropping.

Every step up to the crop works on a Pillow image, whose values are uint8. The last two make floating point of it: a
division by 255, and mean and deviation of each channel. They see one value at a time, and there are 256 values per channel,
so whether doing them later, in batches and on another device, gives the same bits is not believed but tried, for all values.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache, lru_cache
from importlib.metadata import version

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor

from harness.data.preprocessing import Preprocessing

FORM = 1  # raised when the same files give other pixels than before
VALUES = 256


class Normaliser:
    """From uint8 pixels to the network's input, like the last two steps of the transform.

    Args:
        preprocessing: Of the network.
        device: Where it is done.
    """

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self._device = device
        self._mean = torch.tensor(preprocessing.mean, device=device).reshape(1, -1, 1, 1)
        self._std = torch.tensor(preprocessing.std, device=device).reshape(1, -1, 1, 1)
        self._white = torch.tensor([255.0], device=device)  # a tensor: by a number a GPU multiplies with its reciprocal

    def __call__(self, pixels: Tensor) -> Tensor:
        """Float32 input ``(n, c, h, w)`` on the device, of uint8 pixels of this shape."""
        values = pixels.to(self._device, non_blocking=True).to(torch.float32)
        return values.div_(self._white).sub_(self._mean).div_(self._std)


@lru_cache(maxsize=64)
def inexact(preprocessing: Preprocessing, device: torch.device) -> str:
    """Why images must not be kept as uint8 pixels for this preprocessing; empty where that changes no bit.

    Args:
        preprocessing: Of the network.
        device: Where pixels would be normalised.
    """
    channels = preprocessing.input_size[0]
    if channels not in (1, 3):
        return f"the network's input has {channels} channels, expected 1 or 3"
    if unknown := preprocessing.transform().unknown_steps:
        return f"not known whether images are whole numbers between the steps {unknown}"
    same = torch.equal(_later(preprocessing, device), _at_once(preprocessing))
    return "" if same else f"normalised on {device} some values differ from those of the transform"


def _at_once(preprocessing: Preprocessing) -> Tensor:
    """Every value of every channel through the transform's own last steps: ``(c, 1, 256)``; none where they refuse it."""
    grey = np.arange(VALUES, dtype=np.uint8)[None]
    image = Image.fromarray(grey if preprocessing.input_size[0] == 1 else np.repeat(grey[..., None], 3, axis=2))
    try:
        return preprocessing.transform().normalised(image)
    except ValueError:  # a deviation of zero: torchvision refuses it image by image
        return torch.empty(0)


def _later(preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """The same values as a batch on the device."""
    values = torch.arange(VALUES, dtype=torch.uint8).expand(1, preprocessing.input_size[0], 1, VALUES)
    return Normaliser(preprocessing, device)(values.contiguous())[0].cpu()


class ToPixels:
    """From a Pillow image in mode ``L`` or ``RGB`` to what the transform has after its crop: uint8 ``(c, h, w)``.

    Args:
        preprocessing: Of the network.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._transform = preprocessing.transform()

    def __call__(self, image: Image.Image) -> Tensor:
        """Resize and crop."""
        values = torch.from_numpy(np.array(self._transform.cropped(image), dtype=np.uint8))
        return values[None] if values.ndim == 2 else values.permute(2, 0, 1).contiguous()


def pixels_id(content: str, preprocessing: Preprocessing) -> str:
    """Hash of all that decides the pixels of a set of images.

    Args:
        content: Says which files they are, by their content, and in which order.
        preprocessing: Of the network. Mean and deviation change no pixel, but a border is filled with the mean.
    """
    filled = ("mean",) if preprocessing.crop_mode == "border" else ()
    names = ("input_size", "interpolation", "crop_pct", "crop_mode", *filled)
    geometry = {name: getattr(preprocessing, name) for name in names}
    facts = {"form": FORM, "content": content, **geometry, "libraries": _libraries()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


@cache
def _libraries() -> dict[str, str]:
    """Versions of all that decodes and resizes."""
    decoders = {name: str(features.version(name)) for name in ("jpg", "libjpeg_turbo", "webp", "zlib")}
    return {**decoders, **{name: version(name) for name in ("pillow", "torchvision", "timm")}}
