"""The loss landscape of scales (Frumkin et al., ICCV 2023): losses on both sides along lines and over a plane, by block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from harness.analysis.directions import CHOSEN, RANDOM, Direction, Mover, moved, random_directions, searched_direction
from harness.analysis.subject import Subject
from harness.engines import losses
from harness.engines.scale_search import Objective, Scope, Unit, batches_of, read_scales, units_of
from harness.machine.progress import Progress, Task

LOSSES = ("infonce", "mse", "kl", "cosine")
SIDES = ("calibration", "held out")
TEMPERATURE = 3.0  # of infoNCE, as evolq's default
BATCH = 100  # likewise: negatives come from the batch
CHILDREN = 24  # of which the best is a direction
SHARE = 0.05  # distance at which children are judged: evolq(relative=true)


@dataclass(frozen=True)
class Wanted:
    """How finely to look.

    Attributes:
        reach: Largest distance along a line: a share of each scale.
        points: Along a line, odd.
        plane: Along each side of a plane, odd.
        directions: Random ones for each block.
        scope: Which scales of a block are moved together.
        seed: Of the random directions.
    """

    reach: float = 0.1
    points: int = 21
    plane: int = 15
    directions: int = 3
    scope: Scope = "block"
    seed: int = 0

    @property
    def distances(self) -> list[float]:
        """Along a line, the origin among them."""
        return _steps(self.reach, self.points)

    @property
    def plane_distances(self) -> list[float]:
        """Along each side of a plane."""
        return _steps(self.reach, self.plane)


def _steps(reach: float, points: int) -> list[float]:
    half = max(points // 2, 1)
    return [reach * step / half for step in range(-half, half + 1)]


class Side:
    """All losses of one set of images at the present scales."""

    def __init__(self, subject: Subject, images: Tensor) -> None:
        self._losses = {name: losses.named(name, temperature=TEMPERATURE, normalise=True) for name in LOSSES}
        self._objective = Objective(subject.model, batches_of(images, BATCH), self._losses["infonce"], "true_fp")
        self.floor = self._all(list(self._objective.targets))

    def values(self, segment: int) -> dict[str, float]:
        """By name, from a segment to the end on inputs that were computed once; excess over the loss's floor."""
        found = self._all(self._objective.logits(segment))
        return {name: value - self.floor[name] for name, value in found.items()}

    def _all(self, logits: list[Tensor]) -> dict[str, float]:
        found = {}
        for name, loss in self._losses.items():
            self._objective.loss = loss
            found[name] = self._objective.loss_of(logits)
        return found


@dataclass
class Landscape:
    """What was found.

    Attributes:
        lines: One row per unit, direction, distance, side and loss; ``value`` is the excess over the floor.
        plane: One row per place of the plane, side and loss.
        plane_of: Unit and kinds of both directions of the plane; empty for none.
        began: By unit that the trial's search changed, the distance at which it began.
    """

    lines: pd.DataFrame
    plane: pd.DataFrame = field(default_factory=pd.DataFrame)
    plane_of: tuple[str, ...] = ()
    began: dict[str, float] = field(default_factory=dict)

    @property
    def gains(self) -> pd.DataFrame:
        """Per unit, direction and loss: the distance that is best on calibration images, what it gains there and held out.

        Gains are shares of the excess at the origin; positive is better.
        """
        rows = []
        for (unit, kind, number, loss), part in self.lines.groupby(["unit", "direction", "number", "loss"], sort=False):
            table = part.pivot_table(index="distance", columns="side", values="value", sort=True)
            share = (table.loc[0.0] - table) / table.loc[0.0].abs().replace(0.0, math.nan)
            place = int(share[SIDES[0]].fillna(-math.inf).to_numpy().argmax())
            gains = (float(share[side].iloc[place]) for side in SIDES)
            rows.append([unit, kind, number, loss, float(share.index.to_numpy()[place]), *gains])
        columns = ["unit", "direction", "number", "loss", "distance", "gain_calibration", "gain_held_out"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def correlations(self) -> pd.DataFrame:
        """How well losses on calibration images tell those on held-out ones: Pearson's correlation along random directions.

        One row per unit and loss. Where it is small, what a search sees is mostly noise of its images.
        """
        rows = []
        part = self.lines[self.lines["direction"] == RANDOM]
        for (unit, loss), own in part.groupby(["unit", "loss"], sort=False):
            table = own.pivot_table(index=["number", "distance"], columns="side", values="value")
            rows.append([unit, loss, float(table[SIDES[0]].corr(table[SIDES[1]]))])
        return pd.DataFrame(rows, columns=["unit", "loss", "correlation"])


class Survey:
    """Walks over the blocks of a subject.

    Args:
        subject: Network and images.
        wanted: How finely to look.
        before: Free scales by unit before the trial's search; empty where they are not known.
    """

    def __init__(self, subject: Subject, wanted: Wanted, before: dict[str, Tensor]) -> None:
        self.subject, self.wanted, self.before = subject, wanted, before
        self.units = units_of(subject.model, wanted.scope)
        self._generator = torch.Generator().manual_seed(wanted.seed)
        self._sides: dict[str, Side] = {}
        self._directions: dict[str, list[Direction]] = {}

    def run(self, progress: Progress) -> Landscape:
        """Lines of every block, and the plane of the one where the best child gains most on the contrastive loss."""
        images = (self.subject.calibration, self.subject.held_out)
        self._sides = {name: Side(self.subject, part) for name, part in zip(SIDES, images, strict=True)}
        rows: list[list[object]] = []
        with progress.task("loss along lines", len(self.units)) as task:
            for unit in task.track(self.units):
                rows += self._lines(unit)
        columns = ["unit", "direction", "number", "distance", "side", "loss", "value"]
        found = Landscape(pd.DataFrame(rows, columns=columns), began=self._began())
        if self.units and self.wanted.plane > 1:
            gains = found.gains
            own = gains[(gains["direction"] == CHOSEN) & (gains["loss"] == LOSSES[0])]
            name = own["unit"].iloc[int(own["gain_calibration"].fillna(0.0).to_numpy().argmax())]
            with progress.task(f"loss over a plane, {name}", self.wanted.plane**2) as task:
                found.plane, found.plane_of = self._plane(next(unit for unit in self.units if unit.name == name), task)
        return found

    def _began(self) -> dict[str, float]:
        ends = {name: one.began for name, found in self._directions.items() for one in found}
        return {name: began for name, began in ends.items() if began is not None}

    def _lines(self, unit: Unit) -> list[list[object]]:
        rows: list[list[object]] = []
        with moved(self.subject.model, unit) as mover:
            self._directions[unit.name] = found = self._of(unit, mover)
            for one in found:
                for distance in self.wanted.distances:
                    mover.to((distance, one))
                    rows += [[unit.name, one.kind, one.number, distance, *rest] for rest in self._values(unit)]
        return rows

    def _values(self, unit: Unit) -> list[list[object]]:
        found = ((side, one.values(unit.segment)) for side, one in self._sides.items())
        return [[side, loss, value] for side, values in found for loss, value in values.items()]

    def _of(self, unit: Unit, mover: Mover) -> list[Direction]:
        size = mover.origin.numel()
        found = random_directions(size, self.wanted.directions, self._generator)
        found.append(self._best_child(unit, mover, random_directions(size, CHILDREN, self._generator)))
        if unit.name in self.before:
            own = searched_direction(self.before[unit.name], mover.origin, -self.wanted.reach / 2)
            found += [own] if own is not None else []
        return found

    def _best_child(self, unit: Unit, mover: Mover, children: Sequence[Direction]) -> Direction:
        side, name = self._sides[SIDES[0]], LOSSES[0]

        def loss(child: Direction) -> float:
            mover.to((SHARE, child))
            return side.values(unit.segment)[name]

        return Direction(CHOSEN, 0, min(children, key=loss).entries)

    def _plane(self, unit: Unit, task: Task) -> tuple[pd.DataFrame, tuple[str, ...]]:
        across = next(one for one in self._directions[unit.name] if one.kind == CHOSEN)
        up, rows = self._directions[unit.name][0], []
        with moved(self.subject.model, unit) as mover:
            for x in self.wanted.plane_distances:
                for y in self.wanted.plane_distances:
                    mover.to((x, across), (y, up))
                    rows += [[x, y, *rest] for rest in self._values(unit)]
                    task.advance()
        return pd.DataFrame(rows, columns=["x", "y", "side", "loss", "value"]), (unit.name, across.kind, up.kind)


def scales_of(subject: Subject, scope: Scope) -> dict[str, Tensor]:
    """Free scales by unit, as they are now."""
    return {unit.name: read_scales(subject.model, unit) for unit in units_of(subject.model, scope)}
