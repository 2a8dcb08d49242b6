"""What the built-in formats share whose values do not lie at equal distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from harness.quant.format.base import NumberFormat

# State files have had these since their first version for all built-in formats; they say nothing of the nonuniform ones.
_ZERO_POINT = "zero_point"
_AFFINE_FACTS = {"signed": False, "symmetric": False, "narrow_range": False, "fractional": False}


@dataclass(frozen=True)
class Nonuniform(NumberFormat):
    """A built-in format with unequal steps.

    Attributes:
        minimum: Lower end of the range it was calibrated on, ``(1,)``; empty where nothing is calibrated.
        maximum: Upper end of that range.
    """

    minimum: Tensor
    maximum: Tensor

    @property
    def zero_points(self) -> int:
        """One byte beside the scales: a zero point that is zero."""
        return min(self.scale.numel(), 1)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Its fields, and what state files have for every built-in format."""
        tensors, facts = super().state()
        zero_point = torch.zeros(self.zero_points, device=self.scale.device)
        return {**tensors, _ZERO_POINT: zero_point}, {**facts, **_AFFINE_FACTS}

    @classmethod
    def from_state(cls, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Self:
        """The format whose ``state()`` this is."""
        own = {name: tensor for name, tensor in tensors.items() if name != _ZERO_POINT}
        return super().from_state(own, {name: value for name, value in facts.items() if name not in _AFFINE_FACTS})
