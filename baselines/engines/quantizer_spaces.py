"""What AdaLog searches: spaces of quantizers with two free parameters each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from harness.baselines.engines.progressive_search import lowest, progressive_search
from harness.quant.format.adaptive_log import ADALOG_R, AdaptiveLog
from harness.quant.format.affine import AffineSpec
from harness.quant.format.arithmetic import EPSILON
from harness.quant.format.base import NumberFormat
from harness.quant.format.range_search import quantile
from harness.quant.format.twin_gelu import GELU_MINIMUM
from harness.quant.format.uniform import Uniform, from_range

NARROWEST = 0.9  # percentile of the narrowest range that is tried
MOST_ZERO_POINTS = 16
SMALLEST_NUMERATOR = 10
BASES = 8  # bases that are combined with largest values
Centre = Literal["range", "middle"]
Error = Callable[[NumberFormat], Tensor]


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


class Space(Protocol):
    """Quantizers among which one is searched."""

    @property
    def start(self) -> NumberFormat:
        """Where to begin."""

    def search(self, error: Error, present: NumberFormat) -> NumberFormat:
        """The quantizer with the least error, group by group.

        Args:
            error: Error of each group ``(groups,)``.
            present: The quantizer so far.
        """


@dataclass(frozen=True)
class UniformSpace:
    """Scales from a percentile's to the full range's, and integer zero points.

    Attributes:
        spec: Asymmetric; or symmetric, with zero points at zero.
        candidates: Scale and zero point, ``(n, 2, groups)``.
        spacing: Distance of scales, ``(groups,)``.
        least: Smallest scale.
        effort: How far to go.
    """

    spec: AffineSpec
    candidates: Tensor
    spacing: Tensor
    least: float
    effort: SearchEffort

    @property
    def start(self) -> NumberFormat:
        """The candidate before the last, as in the released code."""
        return self.build(self.candidates[-2])

    def search(self, error: Error, present: NumberFormat) -> NumberFormat:
        """From coarse to fine."""
        effort = self.effort
        new = max(effort.candidates // effort.keep, 2)

        def of(parameters: Tensor) -> Tensor:
            return error(self.build(parameters))

        found = progressive_search(self.candidates, self.spacing, of, keep=effort.keep, new=new, steps=effort.steps)
        return self.build(found)

    def build(self, parameters: Tensor) -> Uniform:
        """The quantizer of parameters ``(2, groups)``."""
        scale, zero = parameters[0].clamp_min(self.least), parameters[1]
        low, high = self.spec.code_range
        return Uniform.of(self.spec, scale, zero, (low - zero) * scale, (high - zero) * scale)


def uniform_space(
    rows: Tensor, spec: AffineSpec, effort: SearchEffort, centre: Centre, *, zero_points: int, least: float = EPSILON
) -> UniformSpace:
    """The uniform quantizers of some values.

    Args:
        rows: Values ``(groups, n)``.
        spec: Asymmetric; of a symmetric one only scales are searched, over absolute values.
        effort: Its candidates are pairs of a scale and a zero point.
        centre: Asymmetric: zero points around the middle code as released, or around that of the min-max range.
        zero_points: Asymmetric: how many, at most 16.
        least: Smallest scale.
    """
    if spec.symmetric:
        return _symmetric_space(rows, spec, effort, least)
    ordered = rows.sort(dim=1).values
    low, high = spec.code_range
    count = min(MOST_ZERO_POINTS, zero_points)
    narrow = quantile(ordered, NARROWEST) - quantile(ordered, 1 - NARROWEST)
    wide = ordered[:, -1] - ordered[:, 0]
    share = torch.linspace(0, 1, max(effort.candidates // count, 2), device=rows.device)[:, None]
    scales = ((narrow + share * (wide - narrow)) / (high - low)).clamp_min(least)
    if centre == "middle":
        middle = torch.full_like(wide, (high + 1) // 2)
    else:
        middle = from_range(spec, ordered[:, 0], ordered[:, -1]).zero_point
    zeros = (middle + torch.arange(count, device=rows.device)[:, None] - count // 2).clamp(low, high)
    return UniformSpace(spec, _pairs(scales, zeros), scales[1] - scales[0], least, effort)


def _symmetric_space(rows: Tensor, spec: AffineSpec, effort: SearchEffort, least: float) -> UniformSpace:
    ordered = rows.abs().sort(dim=1).values
    low, high = spec.code_range
    narrow, wide = quantile(ordered, NARROWEST), ordered[:, -1]
    share = torch.linspace(0, 1, effort.candidates, device=rows.device)[:, None]
    scales = ((narrow + share * (wide - narrow)) / ((high - low) / 2)).clamp_min(least)
    return UniformSpace(spec, _pairs(scales, torch.zeros_like(wide)[None]), scales[1] - scales[0], least, effort)


@dataclass(frozen=True)
class ProbabilitySpace:
    """Bases ``2^(q/37)`` of values whose largest is one; all numerators q are tried."""

    bits: int
    effort: SearchEffort
    device: torch.device

    @property
    def start(self) -> NumberFormat:
        """Base two."""
        return self._build(torch.tensor([[1.0], [ADALOG_R]], device=self.device))

    def search(self, error: Error, present: NumberFormat) -> NumberFormat:
        """The best base."""
        numerators = _numerators(self.effort, self.device)
        candidates = torch.stack([torch.ones_like(numerators), numerators], dim=1)[:, :, None]
        return self._build(lowest(candidates, lambda one: error(self._build(one)), 1)[0])

    def _build(self, parameters: Tensor) -> AdaptiveLog:
        return _logarithm(self.bits, parameters, 0.0)


@dataclass(frozen=True)
class GeluSpace:
    """Bases and largest values; GELU's minimum is added to values so that none is negative.

    Attributes:
        bits: Width of the codes.
        narrow: Smallest largest value: a percentile of the positive ones, shifted.
        wide: Largest one.
        effort: How far to go.
    """

    bits: int
    narrow: Tensor
    wide: Tensor
    effort: SearchEffort

    @property
    def start(self) -> NumberFormat:
        """Base two, nearly the full range, as released."""
        count = self.effort.candidates
        largest = self.narrow + (self.wide - self.narrow) * (count - 2) / (count - 1)
        return self._build(torch.stack([largest, torch.full_like(largest, ADALOG_R)]))

    def search(self, error: Error, present: NumberFormat) -> NumberFormat:
        """The best bases for the present largest value, with all largest values; then finer ones of these."""

        def of(parameters: Tensor) -> Tensor:
            return error(self._build(parameters))

        effort = self.effort
        numerators = _numerators(effort, self.wide.device)[:, None]
        here = present.scale[:1].expand_as(numerators)
        bases = lowest(torch.stack([here, numerators], dim=1), of, BASES)[:, 1]
        share = torch.linspace(0, 1, max(effort.candidates // BASES, 2), device=self.wide.device)[:, None]
        largest = self.narrow + share * (self.wide - self.narrow)
        keep = 2 * effort.keep
        new = max(effort.candidates // keep, 2)
        pairs, spacing = _pairs(largest, bases), largest[1] - largest[0]
        return self._build(progressive_search(pairs, spacing, of, keep=keep, new=new, steps=effort.steps))

    def _build(self, parameters: Tensor) -> AdaptiveLog:
        return _logarithm(self.bits, parameters, GELU_MINIMUM)


def gelu_space(x: Tensor, bits: int, effort: SearchEffort) -> GeluSpace:
    """The logarithmic quantizers of GELU outputs ``x``; percentiles are those of the positive values."""
    positive = x[x > 0].reshape(1, -1).sort(dim=1).values
    if positive.numel() == 0:
        positive = torch.full((1, 1), EPSILON, device=x.device)
    rank = max(-int(-NARROWEST * positive.shape[1] // 1) - 1, 0)
    return GeluSpace(bits, positive[:, rank] + GELU_MINIMUM, positive[:, -1] + GELU_MINIMUM, effort)


def _pairs(first: Tensor, second: Tensor) -> Tensor:
    """All pairs ``(n * m, 2, groups)``; the first parameter runs fastest."""
    grid = torch.broadcast_tensors(first[None], second[:, None])
    return torch.stack(grid, dim=2).flatten(0, 1)


def _numerators(effort: SearchEffort, device: torch.device) -> Tensor:
    return torch.arange(effort.candidates, dtype=torch.float32, device=device) + SMALLEST_NUMERATOR


def _logarithm(bits: int, parameters: Tensor, shift: float) -> AdaptiveLog:
    """Of a largest value and a numerator ``(2, 1)``."""
    largest, numerator = parameters[0].clamp_min(EPSILON), parameters[1]
    offset = torch.full_like(largest, shift)
    return AdaptiveLog(bits, torch.cat([largest, numerator, offset]), -offset, largest - offset)
