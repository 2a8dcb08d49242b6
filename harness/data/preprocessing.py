"""How an image file becomes the model's input: timm's own configuration, with named overrides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.errors import DataError, nearest

_INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming")


@dataclass(frozen=True)
class Preprocessing:
    """Everything that decides the pixels a model sees.

    Attributes:
        input_size: ``(c, h, w)``.
        interpolation: Name of the resize filter.
        crop_pct: Share of the resized image that the centre crop keeps.
        crop_mode: timm's crop mode, usually ``center``.
        mean: Per channel, of pixels in [0, 1].
        std: Per channel.
    """

    input_size: tuple[int, int, int]
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values for the record and the identity."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def normalise(self, pixels: Tensor) -> Tensor:
        """Subtract the mean and divide by the standard deviation; ``pixels`` ``(n, c, h, w)`` in [0, 1]."""
        mean = torch.tensor(self.mean).reshape(1, -1, 1, 1)
        std = torch.tensor(self.std).reshape(1, -1, 1, 1)
        return (pixels - mean) / std

    def from_bytes(self, images: Tensor) -> Tensor:
        """Preprocess uint8 images ``(n, h, w)`` that lie in memory: repeat channels and resize where needed."""
        channels, height, width = self.input_size
        pixels = images.unsqueeze(1).float() / 255
        if pixels.shape[-2:] != (height, width):
            mode = "bicubic" if self.interpolation not in ("bilinear", "nearest") else self.interpolation
            antialias = mode != "nearest"
            pixels = F.interpolate(pixels, (height, width), mode=mode, antialias=antialias).clamp(0, 1)
        return self.normalise(pixels.expand(-1, channels, -1, -1))

    def transform(self) -> Any:
        """Timm's evaluation transform: PIL image to normalised tensor."""
        from timm.data import create_transform  # timm loads as long as torch; who only names the class must not wait

        return create_transform(
            input_size=self.input_size,
            interpolation=self.interpolation,
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
            mean=self.mean,
            std=self.std,
            is_training=False,
        )


def of_model(network: torch.nn.Module, overrides: Mapping[str, str]) -> Preprocessing:
    """The model's preprocessing as timm resolves it, with overrides such as ``crop_pct=0.875``.

    Raises:
        DataError: An override is unknown or its value cannot be read.
    """
    from timm.data import resolve_model_data_config  # as above

    config = resolve_model_data_config(network)
    base = Preprocessing(
        input_size=tuple(config["input_size"]),
        interpolation=config["interpolation"],
        crop_pct=float(config["crop_pct"]),
        crop_mode=config["crop_mode"],
        mean=tuple(map(float, config["mean"])),
        std=tuple(map(float, config["std"])),
    )
    return replace(base, **{name: _read(name, text) for name, text in overrides.items()})


def _read(name: str, text: str) -> Any:
    readers: dict[str, Any] = {
        "interpolation": _interpolation,
        "crop_pct": _fraction,
        "crop_mode": str,
        "mean": _numbers,
        "std": _numbers,
    }
    if name not in readers:
        raise DataError(f"unknown preprocessing {name!r}.{nearest(name, readers)} Expected one of {', '.join(readers)}")
    try:
        return readers[name](text)
    except ValueError as error:
        raise DataError(f"preprocessing {name}={text!r} is not valid: {error}") from error


def _interpolation(text: str) -> str:
    if text not in _INTERPOLATIONS:
        raise ValueError(f"expected one of {', '.join(_INTERPOLATIONS)}.{nearest(text, _INTERPOLATIONS)}")
    return text


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError("expected a number above 0, at most 1")
    return value


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.replace("/", " ").replace(",", " ").split())
