"""Fake quantization with the straight-through estimator: gradients pass rounding as if it were not there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def fake_quantize_straight_through(
    x: Tensor, scale: Tensor, zero_point: Tensor, low: int | Tensor, high: int | Tensor, kept: Tensor | None = None
) -> Tensor:
    """``fake_quantize`` with straight-through rounding: differentiable in ``x`` and ``scale`` (Bengio et al. 2013).

    Args:
        x: Values.
        scale: Broadcasts against ``x``.
        zero_point: Likewise.
        low: Smallest code.
        high: Largest code.
        kept: Elements that stay unquantized (QDrop), bool, shaped like ``x``; None for none.
    """
    quantized: Tensor = _FakeQuantize.apply(x, scale, zero_point, low, high, kept)
    return quantized


class _FakeQuantize(torch.autograd.Function):
    """Quantize and dequantize. The gradient of rounding is one where the rounded position is a code, outermost included.

    ``Tensor.clamp`` gives the outermost codes no gradient, so it cannot be used here. With ``c`` the code less its zero
    point, ``d/dx = inside`` and ``d/ds = c - inside x / s`` (Esser et al. 2020, Eq. 3). One function instead of the chain of
    its steps: while activation scales are learned, their backward passes were most of the time of a step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        low: int | Tensor,
        high: int | Tensor,
        kept: Tensor | None,
    ) -> Tensor:
        position = x / scale
        rounded = (position + zero_point).round_()
        codes = rounded.clamp(low, high)  # type: ignore[arg-type]
        inside = codes == rounded
        levels = codes.sub_(zero_point)
        ctx.save_for_backward(position, levels, inside, kept)
        ctx.scale_shape = scale.shape
        quantized = levels * scale
        return quantized if kept is None else torch.where(kept, x, quantized)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        position, levels, inside, kept = ctx.saved_tensors
        of_x = of_scale = None
        if ctx.needs_input_grad[0]:
            of_x = gradient * (inside if kept is None else inside | kept)
        if ctx.needs_input_grad[1]:
            slope = torch.addcmul(levels, position, inside.to(position.dtype), value=-1).mul_(gradient)
            if kept is not None:
                slope.masked_fill_(kept, 0)
            of_scale = slope.sum_to_size(ctx.scale_shape)
        return of_x, of_scale, None, None, None, None
