"""Powers of the square root of two, for attention probabilities (Li et al., RepQ-ViT, ICCV 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.quant.format.nonuniform import Nonuniform
from harness.quant.format.power_gradient import through_exponent
from harness.quant.format.realisation import ROOTS, Realisation
from harness.quant.format.registration import number_format


@number_format("log_sqrt2")
@dataclass(frozen=True)
class LogSqrt2(Nonuniform):
    """``s 2^(-q/2)`` and zero, for non-negative values; the scale ``(1,)`` is the largest value."""

    @property
    def levels(self) -> int:
        """``2^bits`` powers and zero."""
        return int(2**self.bits) + 1

    def quantize(self, x: Tensor) -> Tensor:
        """The nearest power."""
        return log_sqrt2(x, self.scale, self.bits)

    @property
    def learnable_scales(self) -> Tensor:
        """The largest value."""
        return self.free_scales

    def straight_through(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """``quantize``, differentiable in ``x`` and the scale."""
        with torch.no_grad():
            quantized = self.quantize(x)
        return through_exponent(x, quantized, self.scale, kept=kept)

    def realisation(self, values: Tensor | None) -> Realisation:
        """Shifts, and a factor for odd codes."""
        return ROOTS if values is None else super().realisation(values)

    def codes(self, x: Tensor) -> Tensor:
        """``q``; the code ``2^bits`` is zero."""
        return _exponents(x, self.scale).clamp_max(2**self.bits).to(torch.int32)


def log_sqrt2(x: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Powers of the square root of two: ``s 2^(-q/2)`` with ``q = round(-2 log2(x / s))`` (Li et al., RepQ-ViT, Sec. 3.3).

    Args:
        x: Non-negative values.
        scale: The largest value, ``(1,)``.
        bits: Width of the code; what lies below its last power becomes zero, so there are ``2^bits + 1`` values.
    """
    codes = _exponents(x, scale)
    return torch.where(codes < 2**bits, scale * torch.exp2(-codes / 2), torch.zeros_like(x))


def _exponents(x: Tensor, scale: Tensor) -> Tensor:
    return torch.round(-2 * torch.log2(x / scale)).clamp_min(0)
