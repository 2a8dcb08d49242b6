"""A range for negative values and one for the others, for GELU outputs (Yuan et al., PTQ4ViT, ECCV 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.quant.format.nonuniform import Nonuniform
from harness.quant.format.registration import number_format
from harness.quant.format.straight_through import fake_quantize_straight_through

# GELU's minimum with its sign changed: the range of its negative half (Yuan et al., PTQ4ViT, ECCV 2022, Sec. 3.2).
GELU_MINIMUM = 0.16997124254703522


@number_format("twin_gelu")
@dataclass(frozen=True)
class TwinGelu(Nonuniform):
    """The scale ``(2,)`` holds the steps of the negative range and of the positive one."""

    def quantize(self, x: Tensor) -> Tensor:
        """The nearest value of the range of its sign."""
        return twin_gelu(x, self.scale, self.bits)

    @property
    def learnable_scales(self) -> Tensor:
        """Both steps."""
        return self.free_scales

    def straight_through(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """``quantize``, differentiable in ``x`` and both steps."""
        half, zero = 2 ** (self.bits - 1), torch.zeros_like(self.scale[0])
        negative = fake_quantize_straight_through(x, self.scale[0], zero, -half, 0)
        positive = fake_quantize_straight_through(x, self.scale[1], zero, 0, half - 1)
        quantized = torch.where(x < 0, negative, positive)
        return quantized if kept is None else torch.where(kept, x, quantized)

    def codes(self, x: Tensor) -> Tensor:
        """Two's complement: there is one negative code more than positive ones."""
        negative, positive = _codes(x, self.scale, 2 ** (self.bits - 1))
        return torch.where(x < 0, -negative, positive).to(torch.int32)

    def on_grid(self, values: Tensor | None) -> bool:
        """Both ranges have integer codes; a weight is not meant to have them."""
        return values is None


def twin_gelu(x: Tensor, scales: Tensor, bits: int) -> Tensor:
    """``2^(bits-1)`` codes for negative values, as many for zero and the positive ones (PTQ4ViT, Sec. 3.2).

    Args:
        x: GELU outputs.
        scales: Step of the negative range and of the positive one, ``(2,)``.
        bits: Width of the code, one bit of it is the sign.
    """
    negative, positive = _codes(x, scales, 2 ** (bits - 1))
    return torch.where(x < 0, -negative * scales[0], positive * scales[1])


def _codes(x: Tensor, scales: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """Magnitudes in the negative range and in the positive one."""
    return torch.round(-x / scales[0]).clamp(0, half), torch.round(x / scales[1]).clamp(0, half - 1)
