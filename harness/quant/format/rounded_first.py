"""The uniform format of RepQ-ViT's released code, whose zero point is a fraction: rounded before it is added."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.quant.format.arithmetic import along
from harness.quant.format.registration import number_format
from harness.quant.format.uniform import Uniform


@number_format("rounded_first")
@dataclass(frozen=True)
class RoundedFirst(Uniform):
    """``clamp(round(x / s) + z, lo, hi) - z`` steps: multiples of the scale, cut off where the fraction says.

    The two ends are values of their own, so there is one more than there are codes (Li et al., RepQ-ViT, ICCV 2023, code).
    """

    @property
    def levels(self) -> int:
        """The multiples between both ends, and the ends."""
        return super().levels + 1

    def codes(self, x: Tensor) -> Tensor:
        """From the lower end on; the upper end is the last."""
        scale, _ = self._along(x)
        low, high = self._ends(x)
        steps = torch.maximum((x / scale).round(), torch.as_tensor(low))
        numbers = (steps - low).ceil()
        return torch.where(steps >= high, torch.full_like(numbers, self.levels - 1), numbers).to(torch.int32)

    def _ends(self, x: Tensor) -> tuple[int | Tensor, int | Tensor]:
        """In steps from zero."""
        zero_point = along(self.zero_point, x.ndim, self.axis or 0)
        low, high = self.code_range
        return low - zero_point, high - zero_point

    def _along(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The zero point shifts the ends only."""
        scale, zero_point = super()._along(x)
        return scale, torch.zeros_like(zero_point)
