"""Directions in which the scales of a block are moved: random ones, and those that a search takes.

A direction has one entry for each free scale of the block; at distance ``t`` a scale is ``1 + t * entry`` times what it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engines.scale_search import Unit, read_scales, write_scales
from harness.quant.format.arithmetic import EPSILON
from harness.quant.format.base import NumberFormat
from harness.quant.network.qmodel import QuantizedModel

RANDOM, CHOSEN, SEARCHED = "random", "best child", "search"


@dataclass(frozen=True)
class Direction:
    """One direction.

    Attributes:
        kind: ``random``: uniform in [-1, 1]. ``best child``: of several random ones the one whose step has the lowest
            contrastive loss on the calibration images, which is what a cycle of the search keeps. ``search``: from the
            scales before the trial's search to those after it.
        number: Among those of its kind.
        entries: One for each free scale.
        began: Distance at which the search began; None for other kinds.
    """

    kind: str
    number: int
    entries: Tensor
    began: float | None = None


def random_directions(unit_size: int, count: int, generator: torch.Generator) -> list[Direction]:
    """Uniform directions ``(unit_size,)``, as the search's mutation draws them relative to each scale."""
    return [Direction(RANDOM, number, _uniform(unit_size, generator)) for number in range(count)]


def _uniform(size: int, generator: torch.Generator) -> Tensor:
    return torch.rand(size, generator=generator) * 2 - 1


def searched_direction(before: Tensor, after: Tensor, began: float) -> Direction | None:
    """From the scales before a search to those after it; None where it changed nothing.

    Args:
        before: Free scales.
        after: Free scales, the origin.
        began: Distance, below zero, at which the scales before lie.
    """
    change = (before / after - 1).cpu()
    return Direction(SEARCHED, 0, change / began, began) if bool(change.abs().max() > 0) else None


@contextmanager
def moved(model: QuantizedModel, unit: Unit) -> Iterator[Mover]:
    """While the block runs, the scales of a unit can be moved; afterwards its quantizers are what they were."""
    kept = {site: model.quantizers[site] for site in unit.sites}
    try:
        yield Mover(model, unit, read_scales(model, unit), kept)
    finally:
        model.quantizers.update(kept)


@dataclass(frozen=True)
class Mover:
    """Moves the scales of one unit away from where they were.

    Attributes:
        model: The network.
        unit: Whose scales.
        origin: The free scales.
        kept: The quantizers.
    """

    model: QuantizedModel
    unit: Unit
    origin: Tensor
    kept: dict[str, NumberFormat]

    def to(self, *steps: tuple[float, Direction]) -> None:
        """Put the scales at these distances along these directions, from the origin."""
        self.model.quantizers.update(self.kept)
        entries = sum((distance * one.entries for distance, one in steps), torch.zeros(self.origin.numel()))
        write_scales(self.model, self.unit, (self.origin * (1 + entries.to(self.origin.device))).clamp_min(EPSILON))
