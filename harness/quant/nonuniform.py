"""Quantizers whose values do not lie at equal distances: logarithmic and twin-range, as pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

# GELU's minimum is -0.16997: the range of its negative half (Yuan et al., PTQ4ViT, ECCV 2022, Sec. 3.2).
GELU_MINIMUM = 0.16997


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
