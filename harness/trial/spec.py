"""What a trial is asked to be: plain values, the same on a command line, in a sweep's file and in a job."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UsageError, nearest
from harness.text import parse_size

EMBEDDED = "embedded"
DATA = "data"  # calibration images come from the data
HOW = ("batch", "device", "memory")  # fields that say how a trial runs, not what it is


def calibrated(count: int | str, source: str) -> str:
    """How many calibration images there were and where they came from, for people."""
    return f"{count} calibration images" + ("" if source == DATA else f" made by {source}")


@dataclass(frozen=True)
class TrialSpec:
    """What the user asked for.

    Attributes:
        method: Stack of methods.
        model: timm name or ``embedded``.
        weights: Safetensors file, or None for the embedded or downloaded weights.
        data: ``embedded`` or the path of an image folder.
        bits: Widths, for example ``w4a8``.
        calib: Number of calibration images.
        calib_source: ``data``, or what makes the images from the network alone, for example ``psaq(iterations=100)``.
        seed: Seed of the calibration draw and of everything random in methods.
        eval_limit: Number of evaluation images; None for all.
        preprocess: Overrides of the model's preprocessing.
        batch: Evaluation batch; not part of the identity.
        device: torch device, or ``auto`` for a GPU where there is one; not part of the identity.
        memory: Budget for what a search keeps in memory, for example ``8GB``, or ``auto``; not part of the identity.

    Raises:
        UsageError: A number is out of range or the memory is no size.
    """

    method: str
    model: str = EMBEDDED
    weights: Path | None = None
    data: str = EMBEDDED
    bits: str = "w8a8"
    calib: int = 256
    calib_source: str = DATA
    seed: int = 0
    eval_limit: int | None = None
    preprocess: Mapping[str, str] = field(default_factory=dict)
    batch: int = 64
    device: str = "auto"
    memory: str = "auto"

    def __post_init__(self) -> None:
        parse_size(self.memory)
        if self.batch < 1:
            raise UsageError(f"batch {self.batch} is not possible: expected at least 1")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed} is not possible: expected 0 or more")
        if self.eval_limit is not None and self.eval_limit < 1:
            raise UsageError(f"evaluation limit {self.eval_limit} is not possible: expected at least 1")

    @property
    def data_name(self) -> str:
        """What records call the data: a folder's name, not its place."""
        return Path(self.data).name

    def command(self, stack: str) -> str:
        """The command line that repeats the trial from any folder."""
        data = self.data if self.data == EMBEDDED else str(Path(self.data).expanduser().absolute())
        words = ["harness", "run", "--method", stack, "--model", self.model, "--bits", self.bits]
        words += ["--data", data, "--calib", str(self.calib), "--seed", str(self.seed)]
        words += ["--calib-source", self.calib_source] if self.calib_source != DATA else []
        words += ["--weights", str(self.weights.expanduser().absolute())] if self.weights else []
        words += ["--eval-limit", str(self.eval_limit)] if self.eval_limit is not None else []
        words += [word for key, value in self.preprocess.items() for word in ("--preprocess", f"{key}={value}")]
        return shlex.join(words)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, paths made absolute: a job may start in another folder."""
        values = dataclasses.asdict(self)
        values["weights"] = str(self.weights.expanduser().absolute()) if self.weights else None
        values["data"] = self.data if self.data == EMBEDDED else str(Path(self.data).expanduser().absolute())
        values["preprocess"] = dict(self.preprocess)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrialSpec:
        """The inverse of ``as_dict``.

        Raises:
            UsageError: A name is not a field.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        unknown = next((name for name in values if name not in names), None)
        if unknown is not None:
            raise UsageError(f"{unknown!r} is no part of a trial.{nearest(unknown, names)} Expected: {', '.join(names)}")
        weights = values.get("weights")
        return cls(**{**values, "weights": Path(weights) if weights else None})
