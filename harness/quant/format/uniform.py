"""Uniform quantization as pure functions of tensors, in float32 "fake quantization".

Everywhere ``q = clamp(round(x / s + z), lo, hi)`` and ``x^ = (q - z) s`` with round half to even, scale ``s`` and zero
point ``z``. Scales and zero points are vectors with one entry per channel, or with one entry for the whole tensor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

EPSILON = torch.finfo(torch.float32).eps
OMSE_GRID = 90
SEARCH_BLOCK_CPU, SEARCH_BLOCK_GPU = 2**19, 2**26  # values that a search over ranges looks at together


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


def along(vector: Tensor, rank: int, axis: int) -> Tensor:
    """Reshape a per-channel vector so that it broadcasts over axis ``axis`` of a tensor of rank ``rank``."""
    if vector.numel() == 1:
        return vector.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int) -> Tensor:
    """Quantize and dequantize; ``scale`` and ``zero_point`` must broadcast against ``x``. Not differentiable.

    In place after the division: measured on a CPU this takes a third (small tensors: a tenth) of the time of
    ``torch.fake_quantize_per_tensor_affine``, which also fills a mask for its gradient.
    """
    return fake_quantize_(x / scale, scale, zero_point, low, high, divided=True)


def fake_quantize_(x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int, *, divided: bool = False) -> Tensor:
    """``fake_quantize`` that overwrites ``x``: most of the time of the other form is a page fault per new page.

    Args:
        x: Overwritten; already divided by the scale if ``divided``.
        scale: As in ``fake_quantize``.
        zero_point: Likewise.
        low: Smallest code.
        high: Largest code.
        divided: ``x`` holds positions already.
    """
    position = x if divided else x.div_(scale)
    return position.add_(zero_point).round_().clamp_(low, high).sub_(zero_point).mul_(scale)


def fake_quantize_through(
    x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int, kept: Tensor | None = None
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
    quantized: Tensor = _Through.apply(x, scale, zero_point, low, high, kept)
    return quantized


class _Through(torch.autograd.Function):
    """Quantize and dequantize. The gradient of rounding is one where the rounded position is a code, outermost included.

    ``Tensor.clamp`` gives the outermost codes no gradient, so it cannot be used here. With ``c`` the code less its zero
    point, ``d/dx = inside`` and ``d/ds = c - inside x / s`` (Esser et al. 2020, Eq. 3). One function instead of the chain of
    its steps: while activation scales are learned, their backward passes were most of the time of a step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int, kept: Tensor | None) -> Tensor:
        position = x / scale
        rounded = (position + zero_point).round_()
        codes = rounded.clamp(low, high)
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


def channel_rows(x: Tensor, axis: int) -> Tensor:
    """View ``x`` as ``(channels, everything else)``."""
    return x.movedim(axis, 0).reshape(x.shape[axis], -1)


def shrink_search(
    x: Tensor, minimum: Tensor, maximum: Tensor, bits: int, *, signed: bool, shared: bool, steps: int = OMSE_GRID
) -> tuple[Tensor, Tensor]:
    """OMSE: shrink the range by 0, 1, 2, ... percent and keep the least squared error (Choukroun et al. 2019).

    Args:
        x: Values ``(rows, n)``.
        minimum: Range per row ``(rows,)`` or one for all ``(1,)``.
        maximum: Likewise.
        bits: Width of the code; always asymmetric, as in the release.
        signed: Signed codes.
        shared: One shrink factor for all rows (the release) instead of one per row.
        steps: Number of factors tried: 1.00, 0.99, ..., ``1 - 0.01 (steps - 1)``.

    Returns:
        The chosen minimum and maximum, shaped like the given ones. Ties go to the least shrinkage.
    """
    factors = [1.0 - 0.01 * step for step in range(steps)]
    errors = torch.stack(_shrink_errors(x, minimum, maximum, bits, signed, factors))
    if shared or minimum.numel() == 1:
        errors = errors.sum(dim=1, keepdim=True).expand(-1, minimum.numel())
    best, best_error = torch.ones_like(minimum), errors[0]
    for factor, error in zip(factors, errors, strict=True):
        best = torch.where(error < best_error, torch.full_like(best, factor), best)
        best_error = torch.minimum(error, best_error)
    return minimum * best, maximum * best


def _shrink_errors(
    x: Tensor, minimum: Tensor, maximum: Tensor, bits: int, signed: bool, factors: list[float]
) -> list[Tensor]:
    """Per factor the summed squared error of each row, float64; block by block, so that values stay in the cache."""
    low, high = integer_range(bits, signed)
    parameters = [affine_parameters(minimum * f, maximum * f, bits, signed=signed, symmetric=False) for f in factors]
    errors = [torch.zeros(len(x), dtype=torch.float64, device=x.device) for _ in factors]
    limit = SEARCH_BLOCK_CPU if x.device.type == "cpu" else SEARCH_BLOCK_GPU
    wide = min(x.shape[1], limit)
    for rows in torch.arange(len(x)).split(max(limit // wide, 1)):
        here = slice(int(rows[0]), int(rows[-1]) + 1)
        own = here if minimum.numel() > 1 else slice(0, 1)
        for block in x[here].split(wide, dim=1):
            for error, (scale, zero_point) in zip(errors, parameters, strict=True):
                step = scale[own]
                position = (block / step[:, None]).add_(zero_point[own, None])
                residual = position.round().clamp_(low, high).sub_(position)  # in steps of the scale
                error[here] += _squared_norms(residual).double() * step.double() ** 2
    return errors


def _squared_norms(rows: Tensor) -> Tensor:
    """Sum of squares of each row."""
    if len(rows) == 1:
        return torch.dot(rows[0], rows[0]).reshape(1)
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms.square()


def quantile(ordered: Tensor, fraction: float) -> Tensor:
    """Linearly interpolated quantile of each sorted row ``(rows, n)``; ``torch.quantile`` refuses more than 16 M values."""
    return _interpolated(ordered, fraction * (ordered.shape[1] - 1), 0)


def outer_quantiles(x: Tensor, fractions: tuple[float, ...]) -> list[tuple[Tensor, Tensor]]:
    """For each fraction the quantiles ``1 - fraction`` and ``fraction`` of each row, as ``quantile`` gives them.

    Fractions near one need the tails only: finding these takes a fifth of the time of sorting millions of values.

    Args:
        x: Values ``(rows, n)``.
        fractions: Above one half.
    """
    count = x.shape[1]
    tail = min(count, int((1 - min(fractions)) * (count - 1)) + 3)
    low, high = x.topk(tail, dim=1, largest=False).values, x.topk(tail, dim=1).values.flip(1)
    return [
        (_interpolated(low, (1 - fraction) * (count - 1), 0), _interpolated(high, fraction * (count - 1), count - tail))
        for fraction in fractions
    ]


def _interpolated(tail: Tensor, position: float, start: int) -> Tensor:
    """Between the two order statistics around a position; ``tail`` has those from ``start`` on."""
    index = int(position) - start
    low, high = tail[:, index], tail[:, min(index + 1, tail.shape[1] - 1)]
    return low + (high - low) * (position - int(position))


def percentile_search(x: Tensor, bits: int, fractions: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """RepQ-ViT's ranges: per row the quantile ``p`` with the least squared error, cut off at both ends.

    Args:
        x: Values ``(rows, n)``.
        bits: Width of the unsigned code.
        fractions: Candidates for ``p``; ties go to the first.

    Returns:
        Minimum and maximum of each row.
    """
    low, high = integer_range(bits, signed=False)
    candidates = outer_quantiles(x, fractions)
    best, best_error = candidates[0], None
    for candidate in candidates:
        scale, zero_point = affine_parameters(*candidate, bits, signed=False, symmetric=False)
        error = (x - fake_quantize(x, scale[:, None], zero_point[:, None], low, high)).square_().mean(dim=1)
        better = torch.ones_like(error, dtype=torch.bool) if best_error is None else error < best_error
        best = torch.where(better, candidate[0], best[0]), torch.where(better, candidate[1], best[1])
        best_error = error if best_error is None else torch.minimum(error, best_error)
    return best


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


def corrected_rows(weight: Tensor, quantized: Tensor, form: str) -> Tensor:
    """Bias correction of weights: give every output channel of ``quantized`` the mean and spread of ``weight``.

    Args:
        weight: Full-precision weight, output channels first.
        quantized: Its fake-quantized form.
        form: ``centred``: mean and standard deviation are restored exactly (the code of Banner et al. 2019);
            ``paper``: ``xi (Wq + mu)`` with ``mu = E[W] - E[Wq]`` as printed in their Sec. 3.3.
    """
    rows, codes = weight.flatten(1), quantized.flatten(1)
    mean, coded_mean = rows.mean(1, keepdim=True), codes.mean(1, keepdim=True)
    ratio = rows.std(1, keepdim=True) / (codes.std(1, keepdim=True) + 1e-8)
    if form == "paper":
        return (ratio * (codes + mean - coded_mean)).reshape(weight.shape)
    return ((codes - coded_mean) * ratio + mean).reshape(weight.shape)
