"""A fine-tuned network in a folder: ``config.json`` and ``model.safetensors``, as timm saves them for a hub.

The configuration is data: it names an architecture that timm has here, a number of classes, preprocessing, and a few
arguments that decide shapes. Everything else in it is either without meaning for what the network computes, and not looked
at, or refused by name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.errors import ModelError
from harness.trial.overrides import CROP_MODES, INTERPOLATIONS, LARGEST_SHIFT, SMALLEST_CROP, SMALLEST_DEVIATION

CONFIG, TENSORS = "config.json", "model.safetensors"
LAYOUT = f"expected a safetensors file, or timm's layout: a folder with {CONFIG} and {TENSORS}"
MAX_BYTES = 2**24  # of the configuration: names of 21,843 classes take two million
MAX_CLASSES = 100_000
# Training only: a network in evaluation mode is the same with any of them.
OF_TRAINING = ("drop_rate", "drop_path_rate", "proj_drop_rate", "attn_drop_rate", "pos_drop_rate", "patch_drop_rate")

Channels = Annotated[int, Field(ge=1, le=16)]
Edge = Annotated[int, Field(ge=1, le=4096)]
Classes = Annotated[int, Field(ge=0, le=MAX_CLASSES)]  # none: a network without a classifier
Means = Annotated[list[Annotated[float, Field(ge=-LARGEST_SHIFT, le=LARGEST_SHIFT)]], Field(min_length=1, max_length=16)]
Deviations = Annotated[
    list[Annotated[float, Field(ge=SMALLEST_DEVIATION, le=LARGEST_SHIFT)]], Field(min_length=1, max_length=16)
]


class _Arguments(BaseModel):
    """Arguments of the network's constructor that change shapes or arithmetic."""

    model_config = ConfigDict(extra="forbid", strict=True)
    num_classes: Classes | None = None
    img_size: Edge | Annotated[list[Edge], Field(min_length=2, max_length=2)] | None = None
    in_chans: Channels | None = None
    global_pool: Literal["avg", "avgmax", "max", "catavgmax", "fast", "token", "map"] | None = None
    class_token: bool | None = None
    no_embed_class: bool | None = None
    reg_tokens: Annotated[int, Field(ge=0, le=64)] | None = None
    init_values: Annotated[float, Field(ge=0, le=10)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_training(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if k not in OF_TRAINING} if isinstance(values, dict) else values


class _Preprocessing(BaseModel):
    """timm's ``pretrained_cfg``; what is missing has timm's defaults."""

    model_config = ConfigDict(extra="ignore", strict=True)
    input_size: tuple[Channels, Edge, Edge]
    mean: Means
    std: Deviations
    interpolation: str = "bicubic"
    crop_pct: Annotated[float, Field(ge=SMALLEST_CROP, le=1)] = 0.875
    crop_mode: str = "center"
    num_classes: Classes | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation {self.interpolation!r}, expected one of {', '.join(INTERPOLATIONS)}")
        if self.crop_mode not in CROP_MODES:
            raise ValueError(f"crop_mode {self.crop_mode!r}, expected one of {', '.join(CROP_MODES)}")
        return self


class Configuration(BaseModel):
    """What ``config.json`` says of a network.

    Attributes:
        architecture: timm's name without a tag.
        num_classes: Number of logits; 0 without a classifier.
        model_args: Arguments of the constructor.
        pretrained_cfg: Preprocessing.
    """

    model_config = ConfigDict(extra="ignore", strict=True)
    architecture: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,100}$")]
    num_classes: Classes | None = None
    model_args: _Arguments = _Arguments()
    pretrained_cfg: _Preprocessing

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """One number of classes, one size of images, one number per channel."""
        if len({self.num_classes, self.model_args.num_classes, self.pretrained_cfg.num_classes} - {None}) != 1:
            raise ValueError("num_classes is not given, or differs between the places where it stands")
        channels = self.input_size[0]
        if {len(self.pretrained_cfg.mean), len(self.pretrained_cfg.std)} != {channels}:
            raise ValueError(f"mean and std need {channels} numbers, one per channel of input_size")
        return self

    @property
    def classes(self) -> int:
        """Number of logits."""
        found = (self.num_classes, self.model_args.num_classes, self.pretrained_cfg.num_classes)
        return next(one for one in found if one is not None)

    @property
    def input_size(self) -> tuple[int, int, int]:
        """``(c, h, w)``: what the constructor got, beside which timm may leave the architecture's usual size."""
        channels, height, width = self.pretrained_cfg.input_size
        size, channels = self.model_args.img_size, self.model_args.in_chans or channels
        if size is not None:
            height, width = (size, size) if isinstance(size, int) else size
        return channels, height, width

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of ``timm.create_model`` beside the architecture."""
        given = self.pretrained_cfg.model_dump(exclude={"input_size", "num_classes"})
        overlay = {**given, "input_size": self.input_size, "num_classes": self.classes}
        arguments = self.model_args.model_dump(exclude_none=True)
        return {**arguments, "num_classes": self.classes, "pretrained_cfg_overlay": overlay}


def read_configuration(folder: Path) -> Configuration:
    """The configuration of a checkpoint's folder.

    Raises:
        ModelError: The folder has another layout, or something in the configuration is not understood.
    """
    path = folder / CONFIG
    for name in (CONFIG, TENSORS):
        if not os.path.isfile(folder / name):
            raise ModelError(f"weights folder {str(folder)!r} has no file {name}", f"{LAYOUT}; pickles are never read")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{str(path)!r} has more than {MAX_BYTES:,} bytes", LAYOUT)
        return Configuration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ModelError(f"{str(path)!r} is not timm's configuration of a classifier: {_first(error)}", LAYOUT) from error


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, in one printable line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(one) for one in first["loc"])
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        said = f"not supported, expected one of {', '.join(_Arguments.model_fields)}"
    more = error.error_count() - 1
    text = (f"{place}: {said}" if place else said)[:300] + (f" (and {more} more)" if more else "")
    return "".join(one if one.isprintable() else "?" for one in text)
