"""Where integer arithmetic can take the place of float arithmetic: values at whole steps from an integer zero point."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

BYTE = 8  # width of the integers that products are computed on
FARTHEST = 2**16  # steps from zero; farther away float32 values lie too coarsely for their codes to come back for sure
HALF = 128  # moves codes of an unsigned byte into a signed one


@dataclass(frozen=True)
class IntegerGrid:
    """Values ``(q - z) s`` with integers ``q`` of ``low..high`` that fit a byte.

    Attributes:
        scale: ``(1,)`` or one entry per channel, positive.
        zero_point: ``(1,)`` or one entry per channel, integers in float32.
        low: Smallest code.
        high: Largest code; ``high - low < 256``.
        axis: Channel axis of scales per channel; None for numbers per tensor.
    """

    scale: Tensor
    zero_point: Tensor
    low: int
    high: int
    axis: int | None

    @property
    def shift(self) -> int:
        """What is subtracted from codes so that they fit into a signed byte."""
        return HALF if self.high >= HALF else 0

    @property
    def reach(self) -> int:
        """Largest ``|q - z|``: bounds what products of codes add up to."""
        return max(int((self.low - self.zero_point).abs().max()), int((self.high - self.zero_point).abs().max()))

    @property
    def holds_zero(self) -> bool:
        """Whether zero has a code: padding with zeros stays on the grid."""
        return bool((self.zero_point >= self.low).all()) and bool((self.zero_point <= self.high).all())


def refusal(name: str) -> str:
    """Why a format whose values do not lie at equal steps has no such grid."""
    return f"{name}: values do not lie at equal steps"
