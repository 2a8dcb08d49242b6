"""Timm's evaluation transform, which resizes a whole image and keeps its centre; very long images: the centre only.

A picture of 1 x 5,000 pixels becomes one of 248 x 1,240,000 before nearly all of it is cut off. Where the resized image
would have more than ``RESIZED_PIXELS``, only the part that the crop keeps is computed. Pillow's filters reach over the
border of that part as they would in the whole image, so the pixels are the same up to rounding (one step of 255).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from PIL import Image
from timm.data import create_transform
from timm.data.transforms import CenterCropOrPad, MaybeToTensor, ResizeKeepRatio
from torch import Tensor
from torchvision import transforms

RESIZED_PIXELS = 2**22  # 4 million; a photograph of 3:2 has a fiftieth of it after resizing
EXPECTED = (  # what the first two steps leave is a Pillow image of whole numbers, what the last two do is arithmetic
    (transforms.Resize, ResizeKeepRatio),
    (transforms.CenterCrop, CenterCropOrPad),
    (MaybeToTensor, transforms.ToTensor),
    (transforms.Normalize,),
)
FILTER_REACH = 4  # source pixels at scale 1; Lanczos, the widest of Pillow's filters, reaches 3


class EvaluationTransform:
    """From a PIL image to a normalised tensor ``(c, h, w)``.

    Args:
        interpolation: Name of the resize filter.
        config: The other arguments of timm's ``create_transform``.
    """

    def __init__(self, interpolation: str, **config: Any) -> None:
        self.steps = create_transform(interpolation=interpolation, is_training=False, **config)
        self._filter = Image.Resampling[interpolation.upper()]

    def __call__(self, image: Image.Image) -> Tensor:
        """Resize, crop, normalise."""
        return self.normalised(self.cropped(image))

    def cropped(self, image: Image.Image) -> Image.Image:
        """Resize and crop: what is still whole numbers."""
        resize, crop, *_ = self.steps.transforms
        size = _resized(resize, image.size)
        if math.prod(size) > RESIZED_PIXELS and isinstance(crop, (transforms.CenterCrop, CenterCropOrPad)):
            image = self._centre(image, size, (crop.size[1], crop.size[0]))
        else:
            image = resize(image)
        return crop(image)  # type: ignore[no-any-return]  # pads where the image is smaller than it

    def normalised(self, image: Image.Image) -> Tensor:
        """What comes after the crop: a tensor, less its mean, divided by its deviation."""
        value: Any = image
        for step in self.steps.transforms[2:]:
            value = step(value)
        return value  # type: ignore[no-any-return]

    @property
    def unknown_steps(self) -> str:
        """Steps of timm's transform of which is not known that the image is whole numbers after the crop; else empty."""
        steps = self.steps.transforms
        known = len(steps) == len(EXPECTED) and all(type(one) in kinds for one, kinds in zip(steps, EXPECTED, strict=True))
        return "" if known else ", ".join(type(one).__name__ for one in steps)

    def _centre(self, image: Image.Image, size: tuple[int, int], crop: tuple[int, int]) -> Image.Image:
        """The middle ``crop`` of the image resized to ``size``; both ``(width, height)``."""
        x, y = (_window(*axis) for axis in zip(image.size, size, crop, strict=True))
        piece = image.crop((x.low, y.low, x.high, y.high))  # small coordinates: Pillow keeps them in 32 bits
        box = (x.begin - x.low, y.begin - y.low, x.end - x.low, y.end - y.low)
        kept = (min(size[0], crop[0]), min(size[1], crop[1]))
        return piece.resize(kept, self._filter, box=box)


class _Window(NamedTuple):
    """One axis of the source: the crop shows ``begin`` to ``end``, the filter reads ``low`` to ``high``."""

    low: int
    high: int
    begin: float
    end: float


def _window(length: int, resized: int, crop: int) -> _Window:
    kept = min(crop, resized)
    start = round((resized - kept) / 2.0)  # as torchvision's centre crop
    scale = length / resized
    reach = FILTER_REACH * max(scale, 1.0)
    begin, end = start * scale, min((start + kept) * scale, float(length))
    return _Window(max(0, math.floor(begin - reach)), min(length, math.ceil(end + reach)), begin, end)


def _resized(resize: Any, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height after timm's first step."""
    width, height = size
    if isinstance(resize, ResizeKeepRatio):
        ratios = height / resize.size[0], width / resize.size[1]
        ratio = max(ratios) * resize.longest + min(ratios) * (1.0 - resize.longest)
        return round(width / ratio), round(height / ratio)
    if not isinstance(resize.size, int):
        return resize.size[1], resize.size[0]
    short, long = resize.size, int(resize.size * max(size) / min(size))
    return (short, long) if width <= height else (long, short)
