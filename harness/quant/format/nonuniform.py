"""Quantizers whose values do not lie at equal distances: logarithmic and twin-range, as pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

# GELU's minimum is -0.16997: the range of its negative half (Yuan et al., PTQ4ViT, ECCV 2022, Sec. 3.2).
GELU_MINIMUM = 0.16997
# AdaLog's bases are 2^(q / r) with this r (Wu et al., ECCV 2024, Sec. 3.2).
ADALOG_R = 37


def log_sqrt2(x: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Powers of the square root of two: ``s 2^(-q/2)`` with ``q = round(-2 log2(x / s))`` (Li et al., RepQ-ViT, Sec. 3.3).

    Args:
        x: Non-negative values.
        scale: The largest value, ``(1,)``.
        bits: Width of the code; what lies below its last power becomes zero, so there are ``2^bits + 1`` values.
    """
    codes = torch.round(-2 * torch.log2(x / scale)).clamp_min(0)
    return torch.where(codes < 2**bits, scale * torch.exp2(-codes / 2), torch.zeros_like(x))


def twin_softmax(x: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Two ranges of ``2^(bits-1)`` codes: fine steps near zero, steps of ``1 / 2^(bits-1)`` above (PTQ4ViT, Sec. 3.2).

    Args:
        x: Probabilities.
        scales: Step of the small range and of the large one, ``(2,)``.
        bits: Width of the code, one bit of it tells the range.
    """
    small, large = scales[0], scales[1]
    half = 2 ** (bits - 1)
    fine = torch.round(x / small).clamp(0, half - 1) * small
    coarse = torch.round(x / large).clamp(0, half - 1) * large
    return torch.where(x < half * small, fine, coarse)


def twin_gelu(x: Tensor, scales: Tensor, bits: int) -> Tensor:
    """One range of ``2^(bits-1)`` codes for negative values, one for the others (PTQ4ViT, Sec. 3.2).

    Args:
        x: GELU outputs.
        scales: Step of the negative range and of the positive one, ``(2,)``.
        bits: Width of the code, one bit of it is the sign.
    """
    half = 2 ** (bits - 1)
    negative = -torch.round(-x / scales[0]).clamp(0, half - 1) * scales[0]
    positive = torch.round(x / scales[1]).clamp(0, half - 1) * scales[1]
    return torch.where(x < 0, negative, positive)


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
    position = ((x + shift) / largest).clamp_(1e-15, 1.0).log2_().mul_(-ADALOG_R / numerator)
    codes = position.round_().clamp_(0, 2**bits).to(torch.int32)
    return _powers(numerator, bits).mul_(largest).sub_(shift)[codes]


def _powers(numerator: Tensor, bits: int) -> Tensor:
    """The table ``(2^bits + 1,)``, zero last."""
    exponents = torch.arange(2**bits, device=numerator.device) * numerator / ADALOG_R
    whole = exponents.floor()
    steps = 2 ** (bits + 1) - 2
    rest = torch.round(torch.exp2(whole - exponents) * steps) / steps
    return torch.cat([torch.exp2(-whole) * rest, exponents.new_zeros(1)])
