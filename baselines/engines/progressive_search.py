"""Coarse-to-fine search of two parameters at once: candidates, then finer ones around the best (AdaLog's FPCS)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def progressive_search(
    candidates: Tensor, spacing: Tensor, error: Callable[[Tensor], Tensor], *, keep: int, new: int, steps: int
) -> Tensor:
    """Try candidates, then repeatedly finer values of their first parameter around the best ones (Wu et al. 2024, Alg. 1).

    As in the released code: each step tries new candidates only, and spacings shrink by ``new - 1/2``.

    Args:
        candidates: ``(n, 2, groups)``; each group is searched on its own.
        spacing: Distance of neighbouring candidates in the first parameter, ``(groups,)``.
        error: Takes both parameters ``(2, groups)``, gives the error of each group ``(groups,)``.
        keep: Best candidates that the next step looks around.
        new: Values of the first parameter around each of them, within half a spacing.
        steps: Number of steps, the first candidates being one.

    Returns:
        The best parameters of the last step, ``(2, groups)``.
    """
    offsets = (torch.linspace(0, 1, new, device=candidates.device) - 0.5)[:, None]
    for _ in range(1, steps):
        best = lowest(candidates, error, keep)
        first = best[:, None, 0] + offsets * spacing  # (keep, new, groups)
        second = best[:, None, 1].expand_as(first)
        candidates = torch.stack([first, second], dim=2).flatten(0, 1)
        spacing = spacing / (new - 0.5)
    return lowest(candidates, error, 1)[0]


def lowest(candidates: Tensor, error: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """For each group the candidates with the least errors, the earlier one on a tie; ``(count, 2, groups)``."""
    errors = torch.stack([error(one) for one in candidates])
    order = errors.sort(dim=0, stable=True).indices[:count]
    return candidates.gather(0, order[:, None].expand(-1, 2, -1))
