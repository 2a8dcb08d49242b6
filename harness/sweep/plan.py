"""What a sweep will do before it does it: what is done, failed, incompatible or missing, and what that will cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from harness.errors import CaptureError, DataError, ModelError
from harness.machine.progress import Progress
from harness.method.memo import Memo
from harness.run.prepare import prepare
from harness.store.placeholder_records import skipped_id
from harness.store.prefix_states import PrefixStates
from harness.store.store import Store
from harness.sweep.cells import DONE, FAILED, INCOMPATIBLE, TO_RUN, Plan, PlanCell
from harness.sweep.estimate import CostEstimate, Estimator, total
from harness.trial.record import INTERRUPTIONS
from harness.trial.spec import TrialSpec


def gpu_here() -> bool:
    """Whether trials on this machine would run on a GPU."""
    return torch.cuda.is_available()


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
        retry: Kinds of failures to run again; ``all`` for any. What happened to the job, not to the trial, always is.
        share: Stack prefixes are shared.
        gpu: Estimate for a GPU.

    Raises:
        UsageError: Something is wrong that concerns the sweep as a whole (bits, stack, device).
    """
    opened, kinds = Memo(), {*retry, *INTERRUPTIONS}
    cells: dict[str, PlanCell] = {}
    with (progress or Progress()).task("plan", len(specs)) as task:
        for spec in task.track(specs):
            cell = _cell(spec, store, opened, kinds, progress)
            cells.setdefault(cell.id, cell)
    estimator = Estimator(store.records(), gpu=gpu)
    return _costed(tuple(cells.values()), PrefixStates(store), estimator, share=share)


def _cell(spec: TrialSpec, store: Store, opened: Memo, retry: set[str], progress: Progress | None) -> PlanCell:
    try:
        prepared = prepare(spec, opened, progress)
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
