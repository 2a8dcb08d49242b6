"""FQ-ViT's integer operators, emulated in float32: integer LayerNorm and Log-Int-Softmax (Lin et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

MANTISSA_BITS = 8
EXPONENT_SHIFTS = 30
# I-BERT's polynomial of exp on [-ln 2, 0]: 0.35815147 x^2 + 0.96963238 x + 1 (Kim et al. 2021).
QUADRATIC, LINEAR, OFFSET = 0.35815147, 0.96963238 / 0.35815147, 1.0 / 0.35815147
LN2 = -0.6931


def integer_layer_norm(
    x: Tensor,
    in_scale: Tensor,
    out_scale: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    released: bool = False,
    centred: bool = True,
) -> Tensor:
    """LayerNorm over the last axis from integers (FQ-ViT, Sec. 4.1, Eq. 16).

    With ``X`` the integers of ``x`` in units of the smallest input scale, mean and standard deviation are computed from
    ``X``; the gain ``A = s / std * weight / out_scale`` becomes ``M / 2^N`` with an 8-bit ``M`` (truncated), and the
    offset is rounded at the same ``N``. There is no epsilon, so a token of equal integers would be divided by zero:
    it becomes the bias, which is what floating point makes of it.

    Args:
        x: Fake-quantized input ``(..., c)``.
        in_scale: Scale of ``x``, ``(c,)`` or ``(1,)``; a divisor of ``c`` entries are repeated (patch merging).
        out_scale: Scale of the output, ``(1,)``.
        weight: Gain ``(c,)``.
        bias: Offset ``(c,)``.
        released: Divide by zero all the same, as FQ-ViT's released code does.
        centred: Subtract the mean; otherwise divide by the root of the mean square, which is zero where all integers are.

    Returns:
        Multiples of ``out_scale``, not clamped, shaped like ``x``.
    """
    channels = x.shape[-1]
    if 1 < in_scale.numel() < channels:
        in_scale = in_scale.repeat(channels // in_scale.numel())
    smallest = in_scale.min()
    integers = torch.round(x / in_scale) * torch.round(in_scale / smallest)
    mean = integers.mean(dim=-1, keepdim=True) * smallest
    total, squares = integers.sum(dim=-1, keepdim=True), integers.square().sum(dim=-1, keepdim=True)
    if not centred:
        total, mean = torch.zeros_like(total), torch.zeros_like(mean)
    spread = channels * squares - total.square()
    deviation = (smallest / channels) * torch.sqrt(spread)
    gain = (smallest / deviation) * weight / out_scale
    shift = (MANTISSA_BITS - 1 - torch.floor(torch.log2(gain.abs()))).clamp(0, 31)
    power = torch.exp2(shift)
    mantissa = torch.floor(gain.abs() * power).clamp(0, 2**MANTISSA_BITS - 1)
    offset = torch.round((bias - mean / deviation * weight) / out_scale * power)
    normed = torch.round((gain.sign() * mantissa * integers + offset) / power) * out_scale
    if released:
        return normed
    constant = spread <= 0
    if centred:
        constant |= integers.amax(dim=-1, keepdim=True) == integers.amin(dim=-1, keepdim=True)
    return torch.where(constant, torch.round(bias / out_scale) * out_scale, normed)


def integer_exponential(x: Tensor, scale: Tensor) -> Tensor:
    """I-BERT's integer exponential of ``x - max(x)`` over the last axis, up to a common factor (Kim et al. 2021)."""
    units = x / scale
    units = units - units.amax(dim=-1, keepdim=True)
    ln2 = torch.floor(LN2 / scale)
    units = torch.maximum(units, EXPONENT_SHIFTS * ln2)
    quotient = torch.floor(units / ln2)
    rest = units - ln2 * quotient
    polynomial = rest * (rest + torch.floor(LINEAR / scale)) + torch.floor(OFFSET / scale**2)
    return torch.floor(polynomial * torch.exp2(EXPONENT_SHIFTS - quotient)).clamp_min(0)


def log_int_softmax(x: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Softmax over the last axis with outputs ``2^-q``, ``q`` a ``bits``-bit code (FQ-ViT, Sec. 4.2).

    ``q`` is log2 of the rounded ratio ``sum / exp``, rounded up when the remainder is at least half of its power of
    two; ratios of ``2^(2^bits)`` and more become exactly zero. Rows do not sum to one.

    Args:
        x: Fake-quantized attention scores.
        scale: Their scale, ``(1,)``.
        bits: Width of the code (4 in the paper).
    """
    exponential = integer_exponential(x, scale)
    ratio = torch.round(exponential.sum(dim=-1, keepdim=True) / exponential)
    return negative_powers(ratio, bits)


def negative_powers(ratio: Tensor, bits: int) -> Tensor:
    """``2^-q`` for ratios ``sum / exp`` of at least one; exactly zero from ``2^(2^bits)`` on."""
    power = power_codes(ratio)
    return torch.where(power >= 2**bits, torch.zeros_like(power), torch.exp2(-power.clamp(0, 2**bits - 1)))


def power_codes(ratio: Tensor) -> Tensor:
    """``log2`` of a ratio, rounded up when the remainder is at least half of its power of two; not clamped, float32."""
    power = torch.floor(torch.log2(ratio))
    return power + (ratio - torch.exp2(power) >= torch.exp2(power - 1))
