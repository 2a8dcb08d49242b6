"""Power-of-two factors (PTF): channel scales that differ by powers of two and share a zero point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.quant.format.affine import Affine
from harness.quant.format.arithmetic import affine_parameters, fake_quantize, integer_range
from harness.quant.format.registration import number_format


@number_format("power_of_two")
@dataclass(frozen=True)
class PowerOfTwo(Affine):
    """FQ-ViT's format of the residual stream: a shift per channel, one zero point (Lin et al. 2022, Sec. 4.1)."""


def power_of_two_scales(x: Tensor, minimum: Tensor, maximum: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """PTF: per channel one of four scales that differ by powers of two (FQ-ViT, Lin et al. 2022, Sec. 4.1).

    The widest scale ``s8`` and the shared zero point come from the extremes over all channels; each channel takes the
    factor in {1, 2, 4, 8} times ``s8 / 8`` with the least squared error, the smaller factor on a tie.

    Args:
        x: Values ``(channels, n)`` that score the factors.
        minimum: Per-channel minimum ``(channels,)``.
        maximum: Per-channel maximum ``(channels,)``.
        bits: Width of the unsigned code.

    Returns:
        Scale ``(channels,)`` and zero point ``(1,)``.
    """
    low, high = integer_range(bits, signed=False)
    widest, zero_point = affine_parameters(
        minimum.min().reshape(1), maximum.max().reshape(1), bits, signed=False, symmetric=False
    )
    candidates = [widest / 8, widest / 4, widest / 2, widest]
    errors = torch.stack([(x - fake_quantize(x, s, zero_point, low, high)).square_().mean(dim=1) for s in candidates])
    return torch.cat(candidates)[errors.argmin(dim=0)], zero_point
