"""Which trials run in one job: those that share a network, and where possible stack prefixes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby

from harness.sweep.cells import Plan, PlanCell
from harness.sweep.estimate import CostEstimate
from harness.sweep.launch.options import LocalOptions, Options

UNKNOWN_SECONDS = 15 * 60.0  # assumed for a trial without an estimate


def packs_of(
    plan: Plan, options: Options, cells: Sequence[PlanCell] | None = None, alone: Collection[str] = ()
) -> list[list[PlanCell]]:
    """How trials are grouped: into jobs for SLURM, into families for local workers.

    Trials ``alone`` come last, each by itself: whatever kills their process must not keep others from running.
    """
    chosen = plan.to_run if cells is None else cells
    others = [cell for cell in chosen if cell.id not in alone]
    last = [[cell] for cell in chosen if cell.id in alone]
    if isinstance(options, LocalOptions):
        return [*families(others), *last]
    return [*pack(others, plan.costs, seconds=options.timeout_min * 60 / 2, most=options.pack), *last]


def pack(
    cells: Sequence[PlanCell], costs: Mapping[str, CostEstimate], *, seconds: float, most: int = 0
) -> list[list[PlanCell]]:
    """Split trials into jobs.

    Trials of one network come together; families (all stacks on the same images and bits) stay whole where they fit,
    because their trials share prefixes.

    Args:
        cells: Trials in the order of the grid.
        costs: Estimates by trial id.
        seconds: Work that a job should hold.
        most: Trials a job may hold; 0 for any number.
    """
    packs: list[list[PlanCell]] = []
    for _, of_network in groupby(sorted(cells, key=lambda cell: cell.network), key=lambda cell: cell.network):
        packs.extend(_packs_of_network(list(of_network), costs, seconds, most))
    return packs


def families(cells: Sequence[PlanCell]) -> Iterator[list[PlanCell]]:
    """Trials on the same network, images and bits: families in the order of the grid, each in the order of its ladder."""
    found: dict[tuple[str, ...], list[PlanCell]] = {}
    for cell in cells:
        found.setdefault(cell.family, []).append(cell)
    for members in found.values():
        yield sorted(members, key=lambda cell: len(cell.prefixes))


def _packs_of_network(
    cells: list[PlanCell], costs: Mapping[str, CostEstimate], seconds: float, most: int
) -> Iterator[list[PlanCell]]:
    current: list[PlanCell] = []
    for family in families(cells):
        if current and not _fits([*current, *family], costs, seconds, most):
            yield current
            current = []
        for cell in family:  # a family that is too large for one job is split in the order of its ladder
            if current and not _fits([*current, cell], costs, seconds, most):
                yield current
                current = []
            current.append(cell)
    if current:
        yield current


def _fits(cells: list[PlanCell], costs: Mapping[str, CostEstimate], seconds: float, most: int) -> bool:
    if most:
        return len(cells) <= most
    return sum(_seconds(costs.get(cell.id)) for cell in cells) <= seconds


def _seconds(cost: CostEstimate | None) -> float:
    return cost.seconds if cost is not None and cost.complete else UNKNOWN_SECONDS
