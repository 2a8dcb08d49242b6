"""Coarse-to-fine search of two parameters at once: a grid, then finer ones around the best (AdaLog's FPCS)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def progressive_search(
    grid: tuple[Tensor, Tensor], error: Callable[[Tensor], Tensor], *, keep: int, fine: tuple[int, int], steps: int
) -> Tensor:
    """Search a grid, then repeatedly around its best points with ever smaller spacings (Wu et al. 2024, Alg. 1).

    Args:
        grid: Equally spaced candidates of both parameters, ``(n, groups)`` each; every pair is tried.
        error: Takes both parameters ``(2, groups)``, gives the error of each group ``(groups,)``.
        keep: Points that the next step looks around.
        fine: New candidates of each parameter around a kept point; 1 leaves the parameter as it is.
        steps: Number of steps, the grid being the first.

    Returns:
        The best parameters seen, ``(2, groups)``.
    """
    first, second = grid
    pairs = [torch.stack(torch.broadcast_tensors(a, b)) for a in first for b in second]
    candidates = torch.stack(pairs)
    spacing = torch.stack([_spacing(first), _spacing(second)])
    errors = torch.stack([error(one) for one in candidates])
    for _ in range(1, steps):
        candidates, errors = _best(candidates, errors, keep)
        around = _around(candidates, spacing, fine)
        candidates = torch.cat([candidates, around])
        errors = torch.cat([errors, torch.stack([error(one) for one in around])])
        spacing = spacing / torch.tensor([max(count - 1, 1) for count in fine], device=spacing.device)[:, None]
    return _best(candidates, errors, 1)[0][0]


def _spacing(values: Tensor) -> Tensor:
    return values[1] - values[0] if len(values) > 1 else torch.zeros_like(values[0])


def _best(candidates: Tensor, errors: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """For each group the candidates with the least errors; the earlier one on a tie."""
    order = errors.sort(dim=0, stable=True).indices[:keep]
    index = order[:, None].expand(-1, 2, -1)
    return candidates.gather(0, index), errors.gather(0, order)


def _around(kept: Tensor, spacing: Tensor, fine: tuple[int, int]) -> Tensor:
    """New candidates within half a spacing of the kept ones, ``(kept * fine, 2, groups)``."""
    offsets = [torch.linspace(-0.5, 0.5, n, device=kept.device) if n > 1 else kept.new_zeros(1) for n in fine]
    steps = torch.cartesian_prod(*offsets)[:, :, None] * spacing
    return (kept[:, None] + steps).flatten(0, 1)
