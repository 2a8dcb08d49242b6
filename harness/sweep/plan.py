"""What a sweep will do before it does it: what is done, failed, incompatible or missing, and what that will cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import CaptureError, DataError, ModelError
from harness.machine.progress import Progress
from harness.method.memo import Memo
from harness.run.prepare import prepare
from harness.store.placeholder_records import skipped_id
from harness.store.prefix_states import PrefixStates
from harness.store.store import Store
from harness.sweep.estimate import CostEstimate, Estimator, total
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
    """

    spec: TrialSpec
    id: str
    state: str
    kind: str = ""
    reason: str = ""
    identity: dict[str, Any] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ()

    @property
    def family(self) -> tuple[str, ...]:
        """What trials that can share prefixes have in common."""
        return (*self.spec.common(Part.NETWORK, Part.DATA, Part.CALIBRATION), self.spec.bits)

    @property
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
    def hours(self) -> float:
        """Estimated hours of work, known parts only."""
        return sum(cost.seconds for cost in self.costs.values()) / 3600

    @property
    def unknown(self) -> int:
        """Trials to run of which some part has no estimate."""
        return sum(not cost.complete for cost in self.costs.values())


def make_plan(
    specs: Sequence[TrialSpec],
    store: Store,
    progress: Progress | None = None,
    *,
    retry: Iterable[str] = (),
    share: bool = True,
    gpu: bool = False,
) -> Plan:
    """Look up every trial.

    Args:
        specs: The trials.
        store: Where records and states are.
        progress: Display.
        retry: Kinds of failures to run again; ``all`` for any.
        share: Stack prefixes are shared.
        gpu: Estimate for a GPU.

    Raises:
        UsageError: Something is wrong that concerns the sweep as a whole (bits, stack, device).
    """
    opened, kinds = Memo(), set(retry)
    cells: dict[str, PlanCell] = {}
    with (progress or Progress()).task("plan", len(specs)) as task:
        for spec in task.track(specs):
            cell = _cell(spec, store, opened, kinds)
            cells.setdefault(cell.id, cell)
    estimator = Estimator(store.records(), gpu=gpu)
    return _costed(tuple(cells.values()), PrefixStates(store), estimator, share=share)


def _cell(spec: TrialSpec, store: Store, opened: Memo, retry: set[str]) -> PlanCell:
    try:
        prepared = prepare(spec, opened)
    except (DataError, ModelError, CaptureError) as error:
        return PlanCell(spec, skipped_id(spec), INCOMPATIBLE, error.kind, str(error))
    record = store.get(prepared.id)
    state, kind, reason = TO_RUN, "", ""
    if record is not None and record["status"] == "done":
        state = DONE
    elif record is not None and not retry & {record["error"]["kind"], "all"}:
        kind, reason = record["error"]["kind"], record["error"]["message"]
        state = INCOMPATIBLE if kind == "incompatible" else FAILED
    return PlanCell(spec, prepared.id, state, kind, reason, dict(prepared.identity), prepared.prefixes)


def _costed(cells: tuple[PlanCell, ...], states: PrefixStates, estimator: Estimator, *, share: bool) -> Plan:
    computed: set[str] = set()
    stored = shared = steps = 0
    costs: dict[str, CostEstimate] = {}
    for cell in cells:
        if cell.state != TO_RUN:
            continue
        kept = states.longest(cell.prefixes) if share else 0
        parts: list[float | None] = [estimator.evaluation(cell.identity)]
        for number, (prefix, seconds) in enumerate(zip(cell.prefixes, estimator.steps(cell.identity), strict=True)):
            steps += 1
            if number < kept:
                stored += 1
            elif share and prefix in computed:
                shared += 1
            else:
                parts.append(seconds)
                computed.add(prefix)
        costs[cell.id] = total(parts)
    return Plan(cells, steps, stored, shared, costs, estimator.count)
