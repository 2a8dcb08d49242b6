"""A step of an evolutionary search: mutation and tournaments for one unit (Frumkin et al. 2023, Alg. 1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from harness.engines.scale_search import Objective, Unit, read_scales, write_scales
from harness.quant.format.arithmetic import EPSILON

Member = tuple[float, Tensor]


@dataclass(frozen=True)
class Tournament:
    """How parents are chosen.

    Attributes:
        population: Copies of the present scales that a unit starts with (K).
        cycles: Children per unit and pass (C).
        samples: Members drawn with replacement; the fittest is the parent (S).
    """

    population: int
    cycles: int
    samples: int

    def parent(self, population: list[Member], generator: Generator) -> Tensor:
        """The fittest of the drawn members."""
        drawn = torch.randint(len(population), (self.samples,), generator=generator)
        return min((population[int(index)] for index in drawn), key=lambda member: member[0])[1]


@dataclass(frozen=True)
class Mutation:
    """How a child differs from its parent.

    Attributes:
        half_width: Of the uniform noise.
        relative: The noise is a share of each scale instead of a number for all.
        mirrored: Negative scales become positive (release) instead of tiny.
        move_zero_points: Zero points follow the scales.
    """

    half_width: float
    relative: bool = False
    mirrored: bool = True
    move_zero_points: bool = False

    def child(self, parent: Tensor, generator: Generator) -> Tensor:
        """The parent's scales with noise; positive float32."""
        noise = (torch.rand(parent.shape, generator=generator, dtype=torch.float64) * 2 - 1) * self.half_width
        noise = noise.to(parent.device)
        child = parent.double() + (noise * parent if self.relative else noise)
        child = child.abs() if self.mirrored else child
        return child.clamp_min(EPSILON).float()


class Evolution:
    """Improves one unit after another.

    Args:
        objective: The loss to lower.
        tournament: How parents are chosen.
        mutation: How children differ.
        generator: Draws both.
        lowest: Children whose loss is below are refused; minus infinity for none.

    Attributes:
        current: Loss of the present scales.
        improved: Units that were changed, counted once per pass.
        refused: Children below ``lowest``.
    """

    def __init__(
        self,
        objective: Objective,
        tournament: Tournament,
        mutation: Mutation,
        generator: Generator,
        lowest: float = -math.inf,
    ) -> None:
        self.objective = objective
        self.tournament = tournament
        self.mutation = mutation
        self.generator = generator
        self.lowest = lowest
        self.current = math.nan
        self.improved = 0
        self.refused = 0

    def improve(self, unit: Unit, born: Callable[[], None]) -> bool:
        """``cycles`` children of tournament winners; the unit takes the fittest of the population.

        Args:
            unit: Whose scales are searched.
            born: Called after every child.

        Returns:
            Whether the unit's scales changed.
        """
        present = read_scales(self.objective.model, unit)
        # K references to the present scales: one known fitness serves them all.
        population: list[Member] = [(self.current, present)] * self.tournament.population
        for _ in range(self.tournament.cycles):
            child = self.mutation.child(self.tournament.parent(population, self.generator), self.generator)
            population.append((self._fitness(unit, child), child))
            population.sort(key=lambda member: member[0])  # stable: the older of two equals stays ahead
            population.pop()
            born()
        self.current, best = population[0]
        self._write(unit, best)
        if best is present:
            return False
        self.objective.changed(unit.segment)
        self.improved += 1
        return True

    def _fitness(self, unit: Unit, child: Tensor) -> float:
        self._write(unit, child)
        loss = self.objective.value(unit.segment)
        if loss < self.lowest:
            self.refused += 1
            return math.inf
        return loss if math.isfinite(loss) else math.inf

    def _write(self, unit: Unit, scales: Tensor) -> None:
        write_scales(self.objective.model, unit, scales, move_zero_points=self.mutation.move_zero_points)
