"""Straight-through gradients of formats whose values are powers: the rounding of the exponent passes gradients on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def through_exponent(
    x: Tensor, quantized: Tensor, scale: Tensor, shift: Tensor | float = 0.0, kept: Tensor | None = None
) -> Tensor:
    """``quantized``, differentiable in ``x`` and the largest power ``scale``.

    With ``y = s b^-round(-log_b((x + d) / s)) - d`` and rounding as the identity, ``s`` cancels:
    ``dy/dx = (y + d) / (x + d)`` and ``dy/ds = 0``. Above ``s`` the exponent is cut off: ``dy/dx = 0`` and ``dy/ds = 1``.
    What becomes the zero of the format has no gradient (the reconstruction of AdaLog's released code, Wu et al. 2024).

    Args:
        x: Values not below ``-shift``.
        quantized: What the format makes of them.
        scale: ``s``, one number.
        shift: ``d``.
        kept: Elements that stay unquantized (QDrop), bool, shaped like ``x``; None for none.
    """
    found: Tensor = _ThroughExponent.apply(x, quantized, scale, shift, kept)
    return found


class _ThroughExponent(torch.autograd.Function):
    """One function: the chain of logarithm, rounding and power would keep a tensor for every step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, quantized: Tensor, scale: Tensor, shift: Tensor | float, kept: Tensor | None) -> Tensor:
        shifted, power = x + shift, quantized + shift
        above = shifted > scale
        slope = torch.where(above | (power <= 0), torch.zeros_like(power), power / shifted)
        ctx.save_for_backward(slope, above, kept)
        ctx.scale_shape = scale.shape
        return quantized.clone() if kept is None else torch.where(kept, x, quantized)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor | None, None, None]:
        slope, above, kept = ctx.saved_tensors
        of_x = of_scale = None
        if ctx.needs_input_grad[0]:
            of_x = gradient * (slope if kept is None else slope.masked_fill(kept, 1.0))
        if ctx.needs_input_grad[2]:
            clipped = above if kept is None else above & ~kept
            of_scale = (gradient * clipped).sum().reshape(ctx.scale_shape)
        return of_x, None, of_scale, None, None
