"""What AdaLog searches: spaces of quantizers with two free parameters each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from harness.baselines.engines.progressive_search import progressive_search
from harness.quant.format.adaptive_log import ADALOG_R, AdaptiveLog
from harness.quant.format.affine import AffineSpec
from harness.quant.format.arithmetic import EPSILON
from harness.quant.format.base import NumberFormat
from harness.quant.format.range_search import quantile
from harness.quant.format.uniform import Uniform, from_range

NARROWEST = 0.9  # percentile of the narrowest range on the grid
SECOND = 16  # candidates of the second parameter on the grid
SMALLEST_NUMERATOR = 10
Centre = Literal["range", "middle"]


@dataclass(frozen=True)
class SearchEffort:
    """How far a search goes.

    Attributes:
        candidates: Quantizers tried per step.
        keep: Best ones that the next step looks around.
        steps: Steps from coarse to fine.
    """

    candidates: int
    keep: int
    steps: int


@dataclass(frozen=True)
class Space:
    """Quantizers with two free parameters.

    Attributes:
        start: Where to begin.
        grid: Candidates of the first and of the second parameter, ``(n, groups)`` each.
        build: The quantizer of parameters ``(2, groups)``.
        both: Whether finer steps move the second parameter too.
    """

    start: NumberFormat
    grid: tuple[Tensor, Tensor]
    build: Callable[[Tensor], NumberFormat]
    both: bool

    def search(self, error: Callable[[NumberFormat], Tensor], effort: SearchEffort) -> NumberFormat:
        """The quantizer with the least error, group by group.

        Args:
            error: Error of each group ``(groups,)``.
            effort: How far to go.
        """
        count = max(effort.candidates // effort.keep, 2)
        fine = (max(count // 2, 2), 2) if self.both else (count, 1)
        steps = effort.steps if len(self.grid[0]) > 1 else 1  # one parameter, and all of its values are tried
        return self.build(
            progressive_search(self.grid, lambda p: error(self.build(p)), keep=effort.keep, fine=fine, steps=steps)
        )


def uniform_space(rows: Tensor, spec: AffineSpec, effort: SearchEffort, centre: Centre) -> Space:
    """Scales from percentile to full range, and integer zero points.

    Args:
        rows: Values ``(groups, n)``.
        spec: Asymmetric.
        effort: Its candidates make the grid.
        centre: Zero points around that of the min-max range, or around the middle code.
    """
    ordered = rows.sort(dim=1).values
    start = from_range(spec, ordered[:, 0], ordered[:, -1])
    low, high = spec.code_range
    zeros = min(SECOND, high + 1)
    narrow = quantile(ordered, NARROWEST) - quantile(ordered, 1 - NARROWEST)
    wide = ordered[:, -1] - ordered[:, 0]
    share = torch.linspace(0, 1, max(effort.candidates // zeros, 2), device=rows.device)[:, None]
    scales = (narrow + share * (wide - narrow)).clamp_min(EPSILON) / (high - low)
    middle = start.zero_point if centre == "range" else torch.full_like(start.zero_point, (high + 1) // 2)
    offsets = torch.arange(zeros, device=rows.device)[:, None] - zeros // 2

    def build(parameters: Tensor) -> NumberFormat:
        scale, zero = parameters[0].clamp_min(EPSILON), parameters[1]
        return Uniform.of(spec, scale, zero, (low - zero) * scale, (high - zero) * scale)

    return Space(start, (scales, (middle + offsets).clamp(low, high)), build, both=False)


def logarithmic_space(x: Tensor, bits: int, effort: SearchEffort, *, probabilities: bool) -> Space:
    """Bases ``2^(q/37)`` from q = 10 on; for other values than probabilities also the largest value.

    Args:
        x: Values.
        bits: Width of the codes.
        effort: Its candidates make the grid.
        probabilities: The largest value is one and nothing is shifted.
    """
    zero = torch.zeros(1, device=x.device)
    shift = zero if probabilities else (-x.min()).clamp_min(0).reshape(1)

    def build(parameters: Tensor) -> NumberFormat:
        largest, numerator = parameters[0], parameters[1].round().clamp_min(1)
        return AdaptiveLog(bits, torch.cat([largest, numerator, shift]), -shift, largest - shift)

    if probabilities:
        largest, numerators = zero[None] + 1, effort.candidates
    else:
        ordered = x.reshape(1, -1).sort(dim=1).values + shift
        narrow, wide = quantile(ordered, NARROWEST), ordered[:, -1].clamp_min(EPSILON)
        share = torch.linspace(0, 1, max(effort.candidates // SECOND, 2), device=x.device)[:, None]
        largest, numerators = narrow.clamp_min(EPSILON) + share * (wide - narrow), SECOND
    span = torch.arange(numerators, device=x.device)[:, None] * (effort.candidates / numerators) + SMALLEST_NUMERATOR
    start = build(torch.stack([largest[-1], zero + ADALOG_R]))
    return Space(start, (largest, span), build, both=not probabilities)
