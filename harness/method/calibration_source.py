"""Where calibration images come from: the data, or a source that makes them from the network alone."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from harness.data.preprocessing import Preprocessing
from harness.errors import StackError, UsageError, nearest
from harness.method import registry, stack
from harness.method.base import C, Context, Strategy
from harness.method.registration import MethodInfo, Role
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.spec import DATA


class CalibrationSource(Strategy[C]):
    """Base of all sources that make calibration images without data."""

    @abstractmethod
    def images(self, model: QuantizedModel, count: int, preprocessing: Preprocessing, context: Context) -> Tensor:
        """Make images, as the network reads them.

        Args:
            model: The network; its full-precision side is to be used.
            count: Number of images.
            preprocessing: Input size and range of pixels.
            context: Seed, progress, notes.

        Returns:
            ``(count, c, h, w)`` float32 on the model's device.
        """


@dataclass(frozen=True)
class SourceStep:
    """A checked calibration source.

    Attributes:
        info: Its registration.
        source: The source with its config.
    """

    info: MethodInfo
    source: CalibrationSource[Any]

    def __str__(self) -> str:
        return stack.written(self.info, self.source.config)

    def identity(self) -> dict[str, Any]:
        """What identifies it: name, version, all settings."""
        return stack.identified(self.info, self.source.config)


def check_source(text: str) -> SourceStep | None:
    """The calibration source of that name with its settings; None for the data's own images.

    Raises:
        UsageError: The text is not understood or names no calibration source.
        StackError: Settings are wrong.
        IncompatibleError: The source is broken.
    """
    if text == DATA:
        return None
    steps = stack.parse(text)
    known = {name: info for name, info in registry.available().items() if info.role is Role.SOURCE}
    if len(steps) != 1 or steps[0].name not in known:
        available = ", ".join([DATA, *known])
        raise UsageError(f"calibration source {text!r} is not known.{nearest(text, known)} Available: {available}")
    info = known[steps[0].name]
    source, problems = stack.set_up(info, steps[0].given)
    if source is None:
        raise StackError(text, problems)
    return SourceStep(info, source)
