"""How an image file becomes the model's input: timm's own configuration, with named overrides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.errors import DataError
from harness.trial.overrides import read_overrides

if TYPE_CHECKING:
    from harness.data.centre_first import EvaluationTransform


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

    def transform(self) -> EvaluationTransform:
        """Timm's evaluation transform: PIL image to normalised tensor."""
        from harness.data.centre_first import EvaluationTransform  # timm loads as long as torch; naming the class must not

        return EvaluationTransform(
            interpolation=self.interpolation,
            input_size=self.input_size,
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
            mean=self.mean,
            std=self.std,
        )


def of_model(network: torch.nn.Module, overrides: Mapping[str, str]) -> Preprocessing:
    """The model's preprocessing as timm resolves it, with overrides such as ``crop_pct=0.875``.

    Raises:
        UsageError: An override is unknown or its value cannot be read.
        DataError: There is not one mean or standard deviation per channel.
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
    values = read_overrides(overrides)
    channels = base.input_size[0]
    for name in ("mean", "std"):
        if name in values and len(values[name]) != channels:
            raise DataError(
                f"preprocessing {name}={overrides[name]!r} has {len(values[name])} number(s), expected {channels}: "
                "one per channel of the network's input"
            )
    return replace(base, **values)
