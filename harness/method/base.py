"""What a method is: one strategy, one frozen config, one ``apply``."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeVar

import torch

from harness.data.sets import CalibrationSet
from harness.machine.memory import Budget
from harness.machine.progress import Progress
from harness.method.checkpoint import Checkpoint
from harness.method.memo import Memo
from harness.method.registration import MethodInfo
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import Bits

C = TypeVar("C")


class Protocol(StrEnum):
    """``strict``: methods see calibration images only. ``paper``: a published procedure that breaks this, marked."""

    STRICT = "strict"
    PAPER = "paper"


@dataclass
class Context:
    """What a method may know besides the model and the calibration images.

    Attributes:
        bits: Widths of the trial.
        seed: Seed of everything random in the method.
        progress: Display for anything that takes more than a few seconds.
        evaluate: Top-1 in percent of the model as it is now on the evaluation images. None unless the method's protocol
            is ``paper``: evaluation data is out of reach otherwise.
        notes: Facts that the method wants in its stage of the record, as plain JSON values.
        memo: Results that other trials in this process may have computed already.
        budget: Bounds the memory of what a method keeps; what does not fit goes to disk.
        origin: Identity of the network and the calibration images.
        prefix: Identity of all that came before this step: network, images, bits, earlier steps.
        scheme: For a step that chooses widths: the scheme that it chooses them for.
        checkpoint: Where a long search keeps its state after each block, to go on there after an interruption.
    """

    bits: Bits
    seed: int = 0
    progress: Progress = field(default_factory=Progress)
    evaluate: Callable[[], float] | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    memo: Memo = field(default_factory=Memo)
    budget: Budget = field(default_factory=Budget)
    origin: str = ""
    prefix: str = ""
    scheme: Method[Any] | None = None
    checkpoint: Checkpoint = field(default_factory=Checkpoint)

    def generator(self, name: str) -> torch.Generator:
        """A CPU random generator of its own for each named purpose, from the trial's seed."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class Strategy(ABC, Generic[C]):
    """What the registry knows: something with a name and settings.

    Attributes:
        Config: The frozen dataclass of its settings.
        info: Name, role, needs and provides, set by ``register``.
        quick: Settings with which it takes a second or less on the embedded network; tests use them.
    """

    Config: ClassVar[type]
    info: ClassVar[MethodInfo]
    quick: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, config: C) -> None:
        self.config = config


class Method(Strategy[C]):
    """Base of all methods and baselines."""

    @property
    def protocol(self) -> Protocol:
        """Whether this method with these settings keeps to calibration images."""
        return Protocol.STRICT

    def check_bits(self, bits: Bits) -> None:
        """Refuse widths that the method cannot do; most can do all.

        Raises:
            IncompatibleError: With what it can do.
        """

    @abstractmethod
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Change the model's quantizers and corrections; full-precision weights stay untouched."""
