"""Uniform quantization as pure functions of tensors, in float32 "fake quantization".

Everywhere ``q = clamp(round(x / s + z), lo, hi)`` and ``x^ = (q - z) s`` with round half to even, scale ``s`` and zero
point ``z``. Scales and zero points are vectors with one entry per channel, or with one entry for the whole tensor.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 2**17  # elements; half a megabyte of float32 stays in a core's cache
EPSILON = torch.finfo(torch.float32).eps


def integer_range(bits: int, signed: bool, narrow: bool = False) -> tuple[int, int]:
    """Smallest and largest code: ``[0, 2^b - 1]`` unsigned, ``[-2^(b-1), 2^(b-1) - 1]`` signed.

    Args:
        bits: Width of the code.
        signed: Two's complement codes.
        narrow: Signed only: leave out the most negative code (Evol-Q paper, Eq. 1).
    """
    if not signed:
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)) + int(narrow), 2 ** (bits - 1) - 1


def affine_parameters(
    minimum: Tensor, maximum: Tensor, bits: int, *, signed: bool, symmetric: bool, narrow: bool = False
) -> tuple[Tensor, Tensor]:
    """Scale and zero point of a range, element by element.

    Asymmetric: ``s = (max - min) / (hi - lo)``, ``z = clamp(lo - round(min / s), lo, hi)``. Symmetric:
    ``s = max(|min|, |max|) / ((hi - lo) / 2)``, ``z = 0``. The range is not forced to contain zero, as in FQ-ViT.

    Returns:
        Scale (at least float32's epsilon) and zero point, shaped like ``minimum``, float32.
    """
    low, high = integer_range(bits, signed, narrow)
    if symmetric:
        bound = torch.maximum(-minimum, maximum)
        return (bound / ((high - low) / 2)).clamp_min(EPSILON), torch.zeros_like(bound)
    scale = ((maximum - minimum) / (high - low)).clamp_min(EPSILON)
    return scale, (low - torch.round(minimum / scale)).clamp(low, high)


def free_parameters(minimum: Tensor, maximum: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Scale and zero point of unsigned codes whose range need not contain zero: the zero point may be no code.

    As in RepQ-ViT's released code: ``z = -round(min / s)``. A clamped zero point moves a range that lies beside zero.
    Constant channels have no range, and the released code no scale for them: their zero point is clamped.
    """
    scale = ((maximum - minimum) / (2**bits - 1)).clamp_min(EPSILON)
    zero_point = -torch.round(minimum / scale)
    constant = maximum - minimum <= 1e-5 * torch.maximum(minimum.abs(), maximum.abs())
    return scale, torch.where(constant, zero_point.clamp(0, 2**bits - 1), zero_point)


def along(vector: Tensor, rank: int, axis: int) -> Tensor:
    """Reshape a per-channel vector so that it broadcasts over axis ``axis`` of a tensor of rank ``rank``."""
    if vector.numel() == 1:
        return vector.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, low: int | Tensor, high: int | Tensor) -> Tensor:
    """Quantize and dequantize; ``scale`` and ``zero_point`` must broadcast against ``x``. Not differentiable.

    In place after the division: measured on a CPU this takes a third (small tensors: a tenth) of the time of
    ``torch.fake_quantize_per_tensor_affine``, which also fills a mask for its gradient.
    """
    if not _divisible(x, scale, zero_point, low, high):
        return _from_positions(x / scale, scale, zero_point, low, high)
    found = torch.empty_like(x)
    for part, there in zip(blocks(x), blocks(found), strict=True):
        _from_positions(torch.div(part, scale, out=there), scale, zero_point, low, high)
    return found


def fake_quantize_(x: Tensor, scale: Tensor, zero_point: Tensor, low: int | Tensor, high: int | Tensor) -> Tensor:
    """``fake_quantize`` that overwrites ``x``: most of the time of the other form is a page fault per new page."""
    for part in blocks(x) if _divisible(x, scale, zero_point, low, high) else (x,):
        _from_positions(part.div_(scale), scale, zero_point, low, high)
    return x


def blocks(x: Tensor) -> tuple[Tensor, ...]:
    """Views of ``x`` along its first axis, small enough that several passes over one of them find it in the cache."""
    if x.is_cuda or x.numel() <= BLOCK:
        return (x,)
    parts: tuple[Tensor, ...] = x.split(max(1, BLOCK * torch.get_num_threads() * len(x) // x.numel()))
    return parts


def _divisible(x: Tensor, *others: Tensor | int) -> bool:
    """Whether blocks of ``x`` are computed as the whole is."""
    return not x.requires_grad and same_along_first(x, *others)


def same_along_first(x: Tensor, *others: Tensor | int) -> bool:
    """Whether nothing differs along the first axis of ``x``, so that its blocks can be computed one by one."""
    along_first = (isinstance(one, Tensor) and one.ndim == x.ndim and one.shape[0] > 1 for one in others)
    return x.ndim > 1 and len(x) > 1 and not any(along_first)


def _from_positions(position: Tensor, scale: Tensor, zero_point: Tensor, low: int | Tensor, high: int | Tensor) -> Tensor:
    """Values from ``x / s``, in place."""
    return position.add_(zero_point).round_().clamp_(low, high).sub_(zero_point).mul_(scale)  # type: ignore[arg-type]


def channel_rows(x: Tensor, axis: int) -> Tensor:
    """View ``x`` as ``(channels, everything else)``."""
    return x.movedim(axis, 0).reshape(x.shape[axis], -1)
