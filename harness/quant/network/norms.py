"""Normalisation of a token in floating point, with or without the subtraction of its mean."""

from __future__ import annotations

import torch
from torch import Tensor


def normalised(
    x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float, *, centred: bool
) -> Tensor:
    """Layer normalisation, or its root mean square form, which leaves the mean in (Zhang & Sennrich 2019).

    Args:
        x: ``(..., *shape)``.
        shape: Sizes of the last axes, over which the norm goes.
        weight: Gain, or None.
        bias: Offset, or None.
        eps: Added to the variance, or to the mean square.
        centred: Whether the mean is subtracted.
    """
    if centred:
        return torch.layer_norm(x, shape, weight, bias, eps, False)
    axes = list(range(-len(shape), 0))
    y = x * torch.rsqrt(x.square().mean(axes, keepdim=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias
