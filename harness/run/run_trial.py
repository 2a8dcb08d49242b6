"""One trial from its specification to its record: the one function that does the work."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from harness.data.sets import CalibrationSet
from harness.errors import DiskError, HarnessError
from harness.machine.disk import explained
from harness.machine.memory import Budget
from harness.machine.progress import Progress
from harness.machine.signals import told_to_stop
from harness.method.base import Context, Protocol
from harness.method.checkpoint import Checkpoint
from harness.method.memo import Memo
from harness.method.stack import StackStep
from harness.method.widths import map_of, present_bits
from harness.quant.network.qmodel import QuantizedModel
from harness.quant.network.state import save_state
from harness.run.alteration import float_layernorms, take_over_original
from harness.run.evaluate import Evaluation, evaluate, top1
from harness.run.failures import MISTAKES, error_info, kind_of
from harness.run.features import FeatureEvaluation
from harness.run.network import captured_network
from harness.run.prepare import Prepared, prepare
from harness.run.record_of import record_of, results_of
from harness.run.reuse import calibration_images, keep_prefix, take_over
from harness.run.robustness import corrupted_rows, reference_logits
from harness.run.session import Session
from harness.run.stages import Stages
from harness.run.work import Done, Given
from harness.store.reading import sha256_of
from harness.store.store import STATE, Store, write_aside
from harness.text import parse_size
from harness.trial.bit_check import check_sites
from harness.trial.record import Record
from harness.trial.spec import FEATURES, TrialSpec


class TrialResult(NamedTuple):
    """What came of a trial.

    Attributes:
        record: Its record, ``done`` or ``failed``.
        cached: It came from the store; nothing was run.
    """

    record: Record
    cached: bool


def run_trial(
    spec: TrialSpec,
    store: Store | None = None,
    progress: Progress | None = None,
    *,
    force: bool = False,
    share: bool = True,
    session: Session | None = None,
) -> TrialResult:
    """Run a trial, or return its stored record when it is already done.

    Args:
        spec: The trial.
        store: Where records are kept; None for ``Store.default()``.
        progress: Display; it also hears of every stage.
        force: Compute everything again although results exist.
        share: Use and keep the states of stack prefixes and full-precision logits.
        session: What stays in memory from one trial of this process to the next.

    Returns:
        The record and whether it came from the store.

    Raises:
        UsageError: The trial cannot be run as asked; nothing was done.
    """
    store = store or Store.default()
    session = session or Session()
    prepared = prepare(spec, session.opened, progress)
    session.budget = session.budget or Budget(parse_size(spec.memory), prepared.device)
    stored = store.get(prepared.id)
    if stored is not None and stored["status"] == "done" and not force and not _lacks_floor(spec, stored):
        return TrialResult(stored, cached=True)
    _check_sites(prepared, session)
    store.check_writable()
    store.make_way(prepared.id)
    given = Given(prepared, store, progress or Progress(), session, session.budget, share, share and not force)
    done = Done(Stages(given.device, session.savings, given.progress))
    return TrialResult(_worked(given, done), cached=False)


def _check_sites(prepared: Prepared, session: Session) -> None:
    """See that rules for single sites are about sites of the network; what the trial asks for cannot be done otherwise."""
    if prepared.bits.rules:
        check_sites(prepared.bits, captured_network(prepared, session).sites.values(), prepared.model.name)


def _lacks_floor(spec: TrialSpec, stored: Record) -> bool:
    """Whether a finished trial must be evaluated again; another library's network, which has no file, has one arithmetic."""
    return spec.noise_floor and "noise_floor" not in stored and "files" in stored


def _worked(given: Given, done: Done) -> Record:
    """Do the work; every failure becomes a record with its reason and with all that was measured before."""
    try:
        model = captured(given, done)
        quantize(given, done, model)
        if given.prepared.spec.float_layernorm:
            float_layernorms(model)
        measure(given, done, model)
        _write_state(given, done, model)
    except Exception as error:
        if told_to_stop():  # no failure of the trial: a library made this of the interruption
            raise KeyboardInterrupt from error
        record = record_of(given, done, "failed")
        record["error"] = error_info(error, given.store.root)
        _save(given, record)
        return record
    record = record_of(given, done, "done")
    _save(given, record, done.correct)
    for search in done.searches:
        search.remove()
    return record


def _save(given: Given, record: Record, correct: np.ndarray | None = None) -> None:
    """Write the record.

    Raises:
        DiskError: It cannot be written; saved searches and prefixes stay, so that little is lost.
    """
    try:
        given.store.save(record, correct)
    except OSError as error:
        reason = record["error"]["message"] if "error" in record else "it was finished"
        raise DiskError(
            f"the record of trial {record['id']} cannot be written: {explained(error)}; {' '.join(reason.split())}"
        ) from error


def _write_state(given: Given, done: Done, model: QuantizedModel) -> None:
    """Write the quantized network's state before its record, which holds its hash; another library's network has none."""
    folder = given.store.folder(given.prepared.id)
    folder.mkdir(parents=True, exist_ok=True)
    if model.external is None:
        path = folder / STATE
        write_aside(path, lambda aside: save_state(model, aside))
        done.results["files"] = {path.name: sha256_of(path)}


def captured(given: Given, done: Done) -> QuantizedModel:
    """The network without quantizers, kept from the last trial where it is the same."""
    with done.stages.stage("capture"):
        model = captured_network(given.prepared, given.session)
        model.clear()
        model.arithmetic = given.prepared.spec.arithmetic
    done.model = model
    return model


def quantize(given: Given, done: Done, model: QuantizedModel) -> None:
    """Take over what other trials have computed, and apply the other methods of the stack in order."""
    steps = given.prepared.stack.steps
    if given.prepared.spec.float_layernorm and take_over_original(given, done, model):
        return
    reused = take_over(given, done, model)
    if reused == len(steps):
        return
    calibration = CalibrationSet(calibration_images(given, done, model, reused).to(given.device))
    for number, step in enumerate(steps[reused:], start=reused):
        search = _apply(given, done, model, step, number, calibration)
        if keep_prefix(given, done, model, number) or not given.share:
            search.remove()
        else:  # a full disk: what was found must not be lost while it is nowhere else
            done.searches.append(search)


def _apply(
    given: Given, done: Done, model: QuantizedModel, step: StackStep, number: int, calibration: CalibrationSet
) -> Checkpoint:
    """One method as one stage; the state of its search stays for a next attempt, unless that may be what is wrong."""
    began, forwards = time.perf_counter(), model.image_forwards
    checkpoint = Checkpoint(
        given.states.partial(given.prepared.prefixes[number]) if given.reuse else None,
        lambda: (time.perf_counter() - began, model.image_forwards - forwards),
        given.store.root,
    )
    given.progress.interruptible(checkpoint.flush)
    try:
        with done.stages.stage(step.info.name, len(calibration), model, checkpoint) as notes:
            context = _context(given, model, step, number, checkpoint, notes)
            with given.budget.measured() as usage:
                _work(step, model, calibration, context)
            notes.update(usage.facts())
    except Exception as error:
        if kind_of(error, given.store.root) in MISTAKES and not told_to_stop():
            checkpoint.remove()
        raise
    except BaseException:  # told to stop
        checkpoint.flush()
        raise
    return checkpoint


def _work(step: StackStep, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
    """Let the method work; one that ends the process, or notes what no record can hold, fails with a record."""
    try:
        step.method.apply(model, calibration, context)
    except SystemExit as stop:
        if context.progress.interrupted:  # a preempted job that is queued again ends like this
            raise
        raise HarnessError(f"method {step.info.name!r} calls sys.exit({stop.code!r})") from stop
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as odd:
        raise HarnessError(f"method {step.info.name!r} raises {type(odd).__name__}: {odd}") from odd
    finally:
        problem = _unwritable(context.notes)
        if problem:
            context.notes.clear()
    if problem:
        raise HarnessError(f"method {step.info.name!r} notes what no record can hold: {problem}")


def _unwritable(notes: Mapping[str, Any]) -> str:
    """Why a stage's notes cannot be written as JSON; empty when they can."""
    try:
        json.dumps(notes, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return str(error)
    return ""


def _context(
    given: Given, model: QuantizedModel, step: StackStep, number: int, checkpoint: Checkpoint, notes: dict[str, Any]
) -> Context:
    """What the method of a step may know."""
    prepared = given.prepared
    context = Context(
        bits=present_bits(model, prepared.bits),
        seed=prepared.spec.seed,
        progress=given.progress,
        notes=notes,
        memo=given.session.memo if given.share else Memo(),
        budget=given.budget,
        origin=prepared.origin,
        prefix=prepared.prefixes[number - 1] if number else prepared.origin,
        scheme=step.scheme.method if step.scheme else None,
        checkpoint=checkpoint,
    )
    if step.method.protocol == Protocol.PAPER:
        context.evaluate = lambda: _top1(prepared, model)
    return context


def _top1(prepared: Prepared, model: QuantizedModel) -> float:
    """Top-1 in percent on the evaluation images, for methods that are marked as seeing them."""
    data = prepared.source.evaluation(prepared.spec.eval_limit, prepared.preprocessing)
    return top1(model, data, prepared.spec.batch)


def measure(given: Given, done: Done, model: QuantizedModel) -> None:
    """Measure accuracy and describe the quantized model."""
    prepared, spec = given.prepared, given.prepared.spec
    data = prepared.source.evaluation(spec.eval_limit, prepared.preprocessing)
    reference = reference_logits(given)
    with done.stages.stage("evaluate", len(data), model):
        twice = spec.noise_floor and model.external is None
        counted = FeatureEvaluation() if spec.task == FEATURES else Evaluation()
        evaluation = evaluate(model, data, spec.batch, given.progress, reference, noise_floor=twice, result=counted)
        if reference.known is not None:
            given.session.savings.add(reference.seconds, len(data))
        corrupted = corrupted_rows(given, model, data)
    if given.share and reference.known is None:
        reference.save()
    done.correct = evaluation.bitmap() if spec.task != FEATURES else None
    done.results = results_of(model, prepared.model.name, evaluation)
    if corrupted:
        done.results["corruptions"] = corrupted
    if model.widths:
        done.results["bit_map"] = map_of(model, prepared.bits)
