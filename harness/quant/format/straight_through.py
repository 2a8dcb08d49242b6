"""Fake quantization with the straight-through estimator: gradients pass rounding as if it were not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.quant.format.arithmetic import blocks, same_along_first

Limit = int | Tensor


def fake_quantize_straight_through(
    x: Tensor, scale: Tensor, zero_point: Tensor, low: Limit, high: Limit, kept: Tensor | None = None
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
    its steps: while activation scales are learned, their backward passes were most of the time of a step. Its steps go over
    parts that stay in the cache, and nothing but ``x`` is kept for the way back: memory is what they wait for.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, low: Limit, high: Limit, kept: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, scale, zero_point, kept)
        ctx.ends = low, high
        found = torch.empty_like(x)
        for part, there, mask in _parts(x, found, kept, (scale, zero_point, low, high)):
            torch.div(part, scale, out=there)
            there.add_(zero_point).round_().clamp_(low, high).sub_(zero_point).mul_(scale)  # type: ignore[arg-type]
            if mask is not None:
                torch.where(mask, part, there, out=there)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        x, scale, zero_point, kept = ctx.saved_tensors
        low, high = ctx.ends
        of_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        of_scale = torch.zeros_like(scale) if ctx.needs_input_grad[1] else None
        spread = (scale, zero_point, low, high)
        rows = zip(_parts(x, gradient, kept, spread), _cut_if(of_x, x, spread), strict=True)
        for (part, here, mask), there in rows:
            position = part / scale
            rounded = (position + zero_point).round_()
            codes = rounded.clamp(low, high)
            inside = codes == rounded
            if there is not None:
                torch.mul(here, inside if mask is None else inside | mask, out=there)
            if of_scale is not None:
                slope = codes.sub_(zero_point).sub_(position.mul_(inside)).mul_(here)
                if mask is not None:
                    slope.masked_fill_(mask, 0)
                of_scale += slope.sum_to_size(scale.shape)
        return of_x, of_scale, None, None, None, None


def _parts(
    x: Tensor, other: Tensor, kept: Tensor | None, spread: tuple[Tensor | Limit, ...]
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Parts of three tensors that lie at the same places; one part where numbers differ along the first axis."""
    return zip(_cut(x, x, spread), _cut(other, x, spread), _cut_if(kept, x, spread), strict=True)


def _cut_if(tensor: Tensor | None, x: Tensor, spread: tuple[Tensor | Limit, ...]) -> Sequence[Tensor | None]:
    return [None] * len(_cut(x, x, spread)) if tensor is None else _cut(tensor, x, spread)


def _cut(tensor: Tensor, x: Tensor, spread: tuple[Tensor | Limit, ...]) -> tuple[Tensor, ...]:
    return blocks(tensor) if same_along_first(x, *spread) else (tensor,)
