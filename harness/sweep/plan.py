"""What a sweep will do before it does it: what is done, failed, incompatible or missing, and what that will cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from harness.errors import CaptureError, DataError, ModelError, SiteError
from harness.machine.progress import Progress
from harness.method.memo import Memo
from harness.run.decoding import decoding_of
from harness.run.kept_images import KeptImages
from harness.run.known import Known
from harness.run.prepare import Prepared, prepare
from harness.store.placeholder_records import skipped_id
from harness.store.prefix_states import PrefixStates
from harness.store.store import Store
from harness.sweep.cells import INCOMPATIBLE, TO_RUN, Plan, PlanCell
from harness.sweep.estimate import CostEstimate, Estimator, total
from harness.sweep.past import Past
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
    past: Past | None = None,
) -> Plan:
    """Look up every trial.

    Args:
        specs: The trials.
        store: Where records and states are.
        progress: Display.
        retry: Kinds of failures to run again; ``all`` for any. What happened to the job, not to the trial, always is.
        share: Stack prefixes are shared.
        gpu: Estimate for a GPU.
        past: What the store knows, where it has been read already.

    Raises:
        UsageError: Something is wrong that concerns the sweep as a whole (bits, stack, device).
    """
    past = past or Past(store)
    cells: dict[str, PlanCell] = {}
    opened, known, kinds = Memo(), Known(), frozenset(retry)
    with (progress or Progress()).task("plan", len(specs)) as task:
        for spec in task.track(specs):
            cell = _cell(spec, past, opened, known, kinds, progress)
            cells.setdefault(cell.id, cell)
    return _costed(tuple(cells.values()), PrefixStates(store), past.estimator(gpu=gpu), share=share)


def _cell(
    spec: TrialSpec, past: Past, opened: Memo, known: Known, retry: frozenset[str], progress: Progress | None
) -> PlanCell:
    try:
        prepared = prepare(spec, opened, progress, known)
    except (DataError, ModelError, CaptureError, SiteError) as error:
        return PlanCell(spec, skipped_id(spec), INCOMPATIBLE, error.kind, str(error))
    state, kind, reason = past.state(prepared.id, retry)
    images = _images(prepared, known) if state == TO_RUN else ()
    return PlanCell(spec, prepared.id, state, kind, reason, dict(prepared.identity), prepared.prefixes, images)


def _images(prepared: Prepared, known: Known) -> tuple[KeptImages, ...]:
    """Decoded images of a trial, looked for once for all trials that have the same."""
    spec = prepared.spec
    draw = (spec.calib, spec.calib_source, spec.seed)
    place = (spec.cache_dir, spec.no_cache, prepared.device)
    key = (spec.data, spec.judge, prepared.preprocessing, spec.eval_limit, draw, place)
    return known.of("images", key, lambda: _kept(prepared))


def _kept(prepared: Prepared) -> tuple[KeptImages, ...]:
    """The sets of decoded images that a trial evaluates and calibrates on; none where nothing is kept."""
    spec, cache = prepared.spec, decoding_of(prepared.spec, prepared.device).cache
    if cache is None:
        return ()
    drawn = None if prepared.calib_source is not None else (spec.calib, spec.seed)
    sets = prepared.source.decoded_sets(drawn, spec.eval_limit, prepared.preprocessing)
    return tuple(KeptImages(str(cache.file(one.key)), one.shape.nbytes, cache.has(one.key, one.shape)) for one in sets)


def _costed(cells: tuple[PlanCell, ...], states: PrefixStates, estimator: Estimator, *, share: bool) -> Plan:
    computed: set[str] = set()
    present = states.complete() if share else frozenset()
    stored = shared = steps = 0
    costs: dict[str, CostEstimate] = {}
    for cell in cells:
        if cell.state != TO_RUN:
            continue
        kept = max((number for number, prefix in enumerate(cell.prefixes, 1) if prefix in present), default=0)
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
