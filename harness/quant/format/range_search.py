"""Searches of the range with the least squared quantization error: shrink factors (OMSE) and percentiles."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.quant.format.affine import AffineSpec
from harness.quant.format.arithmetic import affine_parameters, fake_quantize, free_parameters, integer_range

OMSE_GRID = 90
SEARCH_BLOCK_CPU, SEARCH_BLOCK_GPU = 2**19, 2**26  # values that a search over ranges looks at together


def shrink_search(
    x: Tensor,
    minimum: Tensor,
    maximum: Tensor,
    bits: int,
    *,
    signed: bool,
    shared: bool,
    steps: int = OMSE_GRID,
    symmetric: bool = False,
    narrow: bool = False,
) -> tuple[Tensor, Tensor]:
    """OMSE: shrink the range by 0, 1, 2, ... percent and keep the least squared error (Choukroun et al. 2019).

    Args:
        x: Values ``(rows, n)``.
        minimum: Range per row ``(rows,)`` or one for all ``(1,)``.
        maximum: Likewise.
        bits: Width of the code.
        signed: Signed codes.
        shared: One shrink factor for all rows (the release) instead of one per row.
        steps: Number of factors tried: 1.00, 0.99, ..., ``1 - 0.01 (steps - 1)``.
        symmetric: Errors are those of codes with zero points at zero; the release knows asymmetric ones only.
        narrow: Symmetric only: without the most negative code.

    Returns:
        The chosen minimum and maximum, shaped like the given ones. Ties go to the least shrinkage.
    """
    factors = [1.0 - 0.01 * step for step in range(steps)]
    ends = integer_range(bits, signed, narrow)
    parameters = [
        affine_parameters(minimum * f, maximum * f, bits, signed=signed, symmetric=symmetric, narrow=narrow) for f in factors
    ]
    errors = torch.stack(_shrink_errors(x, parameters, ends))
    if shared or minimum.numel() == 1:
        errors = errors.sum(dim=1, keepdim=True).expand(-1, minimum.numel())
    best, best_error = torch.ones_like(minimum), errors[0]
    for factor, error in zip(factors, errors, strict=True):
        best = torch.where(error < best_error, torch.full_like(best, factor), best)
        best_error = torch.minimum(error, best_error)
    return minimum * best, maximum * best


def _shrink_errors(x: Tensor, parameters: list[tuple[Tensor, Tensor]], ends: tuple[int, int]) -> list[Tensor]:
    """Per scale and zero point the summed squared error of each row, float64.

    Block by block, so that values stay in the cache.
    """
    low, high = ends
    errors = [torch.zeros(len(x), dtype=torch.float64, device=x.device) for _ in parameters]
    limit = SEARCH_BLOCK_CPU if x.device.type == "cpu" else SEARCH_BLOCK_GPU
    wide = min(x.shape[1], limit)
    for rows in torch.arange(len(x)).split(max(limit // wide, 1)):
        here = slice(int(rows[0]), int(rows[-1]) + 1)
        own = here if parameters[0][0].numel() > 1 else slice(0, 1)
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


def percentile_search(
    x: Tensor, bits: int, fractions: tuple[float, ...], spec: AffineSpec | None = None
) -> tuple[Tensor, Tensor]:
    """RepQ-ViT's ranges: per row the quantile ``p`` with the least squared error, cut off at both ends.

    Args:
        x: Values ``(rows, n)``.
        bits: Width of the code.
        fractions: Candidates for ``p``; ties go to the first.
        spec: The format whose errors count: ranges are widened to contain zero, since its zero point is a code. None for
            unsigned codes whose zero point need not be one (``from_free_range``).

    Returns:
        Minimum and maximum of each row.
    """
    low, high = integer_range(bits, signed=False) if spec is None else spec.code_range
    candidates = outer_quantiles(x, fractions)
    if spec is not None:
        candidates = [(lowest.clamp_max(0), highest.clamp_min(0)) for lowest, highest in candidates]
    best, best_error = candidates[0], None
    for candidate in candidates:
        scale, zero_point = free_parameters(*candidate, bits) if spec is None else spec.parameters(*candidate)
        error = (x - fake_quantize(x, scale[:, None], zero_point[:, None], low, high)).square_().mean(dim=1)
        better = torch.ones_like(error, dtype=torch.bool) if best_error is None else error < best_error
        best = torch.where(better, candidate[0], best[0]), torch.where(better, candidate[1], best[1])
        best_error = error if best_error is None else torch.minimum(error, best_error)
    return best
