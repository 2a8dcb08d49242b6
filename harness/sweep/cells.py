"""What a plan says of each trial and of all: done, failed, incompatible or to run, at what cost. Imports no torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.run.kept_images import KeptImages
from harness.sweep.estimate import CostEstimate
from harness.trial.fields import Part
from harness.trial.spec import TrialSpec

DONE, FAILED, INCOMPATIBLE, TO_RUN = "done", "failed", "incompatible", "to run"


@dataclass(frozen=True)
class PlanCell:
    """One trial of a plan.

    Attributes:
        spec: The requested trial.
        id: Its id.
        state: ``done``, ``failed``, ``incompatible`` or ``to run``.
        kind: Kind of the failure.
        reason: Why it failed or cannot run.
        identity: Of the trial; empty for an incompatible one.
        prefixes: Ids of its stack's prefixes.
        images: Its decoded images in the cache, there or not.
    """

    spec: TrialSpec
    id: str
    state: str
    kind: str = ""
    reason: str = ""
    identity: dict[str, Any] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ()
    images: tuple[KeptImages, ...] = ()

    @cached_property
    def family(self) -> tuple[str, ...]:
        """What trials that can share prefixes have in common."""
        return (*self.spec.common(Part.NETWORK, Part.DATA, Part.CALIBRATION), self.spec.bits)

    @cached_property
    def network(self) -> tuple[str, ...]:
        """What trials that can share a loaded network and data have in common."""
        return self.spec.common(Part.NETWORK, Part.DATA)


@dataclass(frozen=True)
class Plan:
    """All trials of a sweep with what is known of them, and the cost of those to run.

    Attributes:
        cells: Trials in the order in which they run.
        steps: Steps of all stacks to run.
        steps_stored: Of these, steps whose state is in the store.
        steps_shared: Of these, steps that another trial of the plan computes.
        costs: Estimate per trial to run, shared work counted once.
        records: Number of past records that the estimates rest on.
    """

    cells: tuple[PlanCell, ...]
    steps: int
    steps_stored: int
    steps_shared: int
    costs: dict[str, CostEstimate]
    records: int

    @property
    def to_run(self) -> list[PlanCell]:
        """The trials to run."""
        return [cell for cell in self.cells if cell.state == TO_RUN]

    def count(self, state: str) -> int:
        """Number of trials in a state."""
        return sum(cell.state == state for cell in self.cells)

    def reasons(self, state: str) -> dict[str, int]:
        """Reasons of the trials in a state, with their numbers."""
        texts = (f"{cell.kind}: {' '.join(cell.reason.split())}" for cell in self.cells if cell.state == state)
        return dict(Counter(texts).most_common())

    @property
    def images(self) -> tuple[KeptImages, ...]:
        """Decoded images of the trials to run, each set once."""
        return tuple({one.path: one for cell in self.to_run for one in cell.images}.values())

    @property
    def hours(self) -> float:
        """Estimated hours of work, known parts only."""
        return sum(cost.seconds for cost in self.costs.values()) / 3600

    @property
    def unknown(self) -> int:
        """Trials to run of which some part has no estimate."""
        return sum(not cost.complete for cost in self.costs.values())
