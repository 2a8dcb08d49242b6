"""Powers of a base that is fitted to the data, for softmax and GELU outputs (Wu et al., AdaLog, ECCV 2024)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from harness.quant.format.nonuniform import Nonuniform
from harness.quant.format.power_gradient import through_exponent
from harness.quant.format.realisation import TABLE, Realisation
from harness.quant.format.registration import number_format

# AdaLog's bases are 2^(q / r) with this r (Wu et al., ECCV 2024, Sec. 3.2).
ADALOG_R = 37


@number_format("adaptive_log")
@dataclass(frozen=True)
class AdaptiveLog(Nonuniform):
    """The scale ``(3,)`` holds the largest shifted value, the numerator of the base's exponent, and the shift."""

    @property
    def levels(self) -> int:
        """``2^bits`` powers and zero."""
        return int(2**self.bits) + 1

    def quantize(self, x: Tensor) -> Tensor:
        """The power whose exponent is nearest, as hardware's table has it."""
        return adaptive_log(x, self.scale, self.bits)

    @property
    def learnable_scales(self) -> Tensor:
        """The largest shifted value ``(1,)``; base and shift stay, as in AdaLog's reconstruction."""
        return self.scale.detach()[:1]

    def with_learned_scales(self, values: Tensor) -> Self:
        """Another largest shifted value ``(1,)``."""
        return replace(self, scale=torch.cat([values, self.scale.detach()[1:]]))

    def straight_through(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """``quantize``, differentiable in ``x`` and the largest shifted value."""
        with torch.no_grad():
            quantized = self.quantize(x)
        return through_exponent(x, quantized, self.scale[0], self.scale[2].detach(), kept)

    def realisation(self, values: Tensor | None) -> Realisation:
        """A table, as AdaLog's hardware has it."""
        return TABLE if values is None else super().realisation(values)

    def codes(self, x: Tensor) -> Tensor:
        """Exponents; the code ``2^bits`` is zero."""
        return _codes(x, self.scale, self.bits)


def adaptive_log(x: Tensor, parameters: Tensor, bits: int) -> Tensor:
    """Powers of an adapted base: ``s b^-c - d``, ``b = 2^(q/37)``, ``c = round(-log_b((x + d) / s))`` (AdaLog, Sec. 3.2).

    Hardware reads the powers from a table: ``b^-c`` is a shift by the whole part of ``c q / 37`` times the power of the
    rest, rounded to ``1 / (2^(bits + 1) - 2)``; so it is here. What lies below the last code is the zero of the table.

    Args:
        x: Values not below ``-d``.
        parameters: ``(3,)``: ``s``, the largest shifted value; ``q``, the numerator of the exponent; ``d``, the shift.
        bits: Width of the code; there are ``2^bits`` powers and zero.
    """
    largest, numerator, shift = parameters
    powers: Tensor = _powers(numerator, bits).mul_(largest).sub_(shift)
    return powers[_codes(x, parameters, bits)]


def _codes(x: Tensor, parameters: Tensor, bits: int) -> Tensor:
    largest, numerator, shift = parameters
    position = ((x + shift) / largest).clamp_(1e-15, 1.0).log2_().mul_(-ADALOG_R / numerator)
    codes: Tensor = position.round_().clamp_(0, 2**bits).to(torch.int32)
    return codes


def _powers(numerator: Tensor, bits: int) -> Tensor:
    """The table ``(2^bits + 1,)``, zero last."""
    exponents = torch.arange(2**bits, device=numerator.device) * numerator / ADALOG_R
    whole = exponents.floor()
    steps = 2 ** (bits + 1) - 2
    rest = torch.round(torch.exp2(whole - exponents) * steps) / steps
    return torch.cat([torch.exp2(-whole) * rest, exponents.new_zeros(1)])
