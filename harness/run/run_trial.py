"""One trial from its specification to its record: the one function that does the work."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.errors import HarnessError
from harness.machine.measure import environment
from harness.machine.memory import Budget, is_out_of_memory
from harness.machine.progress import Progress
from harness.method.base import Context, Protocol
from harness.method.checkpoint import Checkpoint
from harness.method.memo import Memo, Savings
from harness.method.stack import StackStep
from harness.models.cards import cards
from harness.quant.network import inventory
from harness.quant.network.qmodel import QuantizedModel, quantizable
from harness.quant.network.state import save_state
from harness.run.evaluate import Evaluation, evaluate, top1
from harness.run.prepare import Prepared, prepare
from harness.run.stages import Stages
from harness.store.fp_logits import StoredReference
from harness.store.prefix_states import PrefixStates
from harness.store.store import Store, write_aside
from harness.store.synthetic_images import GeneratedImages
from harness.text import parse_size
from harness.trial.record import SCHEMA_VERSION, Record
from harness.trial.spec import DATA, TrialSpec

MISTAKES = ("bug", "diverged")  # after these a search starts anew: its state may be what is wrong
# Errors of libraries that this module must not import, by class name.
FOREIGN_KINDS = {"UncompletedJobError": "timeout"}  # submitit raises it when a job is out of time and not requeued


class Session:
    """What one process keeps from one trial to the next.

    Attributes:
        opened: Networks and data; methods never see it, because an opened data source has labels.
        memo: Results of methods: targets, segment inputs.
        savings: What the use of kept results has saved so far.
        budget: For what methods keep; made by the first trial.
    """

    def __init__(self) -> None:
        self.savings = Savings()
        self.opened = Memo(self.savings)
        self.memo = Memo(self.savings)
        self.budget: Budget | None = None


def run_trial(
    spec: TrialSpec,
    store: Store,
    progress: Progress | None = None,
    *,
    force: bool = False,
    share: bool = True,
    session: Session | None = None,
) -> tuple[Record, bool]:
    """Run a trial, or return its stored record when it is already done.

    Args:
        spec: The trial.
        store: Where records are kept.
        progress: Display; it also hears of every stage.
        force: Compute everything again although results exist.
        share: Use and keep the states of stack prefixes and full-precision logits.
        session: What stays in memory from one trial of this process to the next.

    Returns:
        The record (``done`` or ``failed``) and whether it came from the store.

    Raises:
        UsageError: The trial cannot be run as asked; nothing was done.
    """
    progress = progress or Progress()
    session = session or Session()
    prepared = prepare(spec, session.opened)
    session.budget = session.budget or Budget(parse_size(spec.memory), prepared.device)
    stored = store.get(prepared.id)
    if stored is not None and stored["status"] == "done" and not force:
        return stored, True
    store.check_writable()
    run = _Run(prepared, store, progress, session, session.budget, share=share, force=force)
    try:
        with _memory_errors_named():
            run.quantize()
            run.evaluate()
    except Exception as error:  # every failure becomes a record with its reason
        record = run.record("failed")
        kind = kind_of(error)
        record["error"] = {"kind": kind, "message": str(error)[:2000], "traceback": traceback.format_exc()[-4000:]}
        if kind in MISTAKES:
            run.checkpoint.remove()
        store.save(record)
        return record, False
    record = run.record("done")
    folder = store.folder(prepared.id)
    folder.mkdir(parents=True, exist_ok=True)
    if run.quantized.external is None:
        write_aside(folder / "quantizers.safetensors", lambda path: save_state(run.quantized, path))
    store.save(record, run.bitmap)
    return record, False


@contextmanager
def _memory_errors_named() -> Iterator[None]:
    """Turn torch's many out-of-memory messages into one kind."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            first = str(error).split("\n")[0] or "out of memory"
            raise OutOfMemoryError(first, "a smaller batch of the method that ran, for example fqvit(batch=8)") from error
        raise


def anchored(name: str, result: Evaluation) -> dict[str, Any]:
    """The published full-precision accuracy of a network beside ours; empty where none is known.

    The difference is None unless as many images were evaluated as the publication did.
    """
    card = cards().get(name)
    if card is None or card.anchor is None:
        return {}
    same = result.n_images == card.anchor.images
    measured = 100 * result.n_correct_fp32 / result.n_images
    return {**asdict(card.anchor), "difference": round(measured - card.anchor.top1, 4) if same else None}


class OutOfMemoryError(HarnessError):
    """The machine's or the GPU's memory did not suffice."""

    kind = "oom"


def kind_of(error: Exception) -> str:
    """Kind of a failure, for its record."""
    return error.kind if isinstance(error, HarnessError) else FOREIGN_KINDS.get(type(error).__name__, "bug")


class _Run:
    """The work of one trial; keeps what was measured so far, also for a failure's record."""

    def __init__(
        self,
        prepared: Prepared,
        store: Store,
        progress: Progress,
        session: Session,
        budget: Budget,
        *,
        share: bool,
        force: bool,
    ) -> None:
        self.prepared = prepared
        self.store = store
        self.progress = progress
        self.session = session
        self.budget = budget
        self.share = share
        self.reuse = share and not force
        self.device = prepared.device
        self.states = PrefixStates(store)
        self.stages = Stages(self.device, session.savings, progress, self._images_forwarded)
        self.results = Record()
        self.checkpoint = Checkpoint()
        self.started = time.perf_counter()
        self.quantized: QuantizedModel
        self.bitmap: Any = None

    def _images_forwarded(self) -> float:
        return self.quantized.image_forwards if hasattr(self, "quantized") else 0.0

    def quantize(self) -> None:
        """Capture the network, take over what other trials have computed, apply the other methods in order."""
        steps = self.prepared.stack.steps
        with self.stages.stage("capture"):
            self.quantized = self._captured()
        done = self._take_over()
        if done == len(steps):
            return
        calibration = CalibrationSet(self._images(done).to(self.device))
        for number, step in enumerate(steps[done:], start=done):
            self._apply(step, number, calibration)
            if self.share and self.quantized.external is None:  # another library's network has no state file
                prefix = self.prepared.prefixes[number]
                self.states.save(self.quantized, prefix, self.stages.rows[1:], environment(self.device))

    def _captured(self) -> QuantizedModel:
        prepared = self.prepared
        network, size, name = prepared.model.network, prepared.preprocessing.input_size, prepared.model.name
        key = (prepared.model.weights_sha256, name, size, str(self.device))
        model = self.session.opened.once("capture", key, lambda: quantizable(network, size, name).to(self.device))
        model.clear()
        return model

    def _take_over(self) -> int:
        """Restore the longest stored prefix of the stack; returns the number of its steps."""
        prefixes = self.prepared.prefixes
        done = self.states.longest(prefixes) if self.reuse else 0
        while done:
            try:
                stages, machine = self.states.load(self.quantized, prefixes[done - 1])
            except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
                where = self.states.folder(prefixes[done - 1])
                self.progress.say(f"warning: {where} is not used: {type(error).__name__}: {error}")
                self.quantized.clear()
                done -= 1
                continue
            self.stages.reuse(stages, prefixes[done - 1], machine)
            return done
        return 0

    def _images(self, done: int) -> Tensor:
        """The calibration images; what they cost is a stage, unless that is in a reused prefix already."""
        prepared, made = self.prepared, self.prepared.calib_source
        if made is not None and self.reuse and (kept := self._kept_images(done)) is not None:
            return kept
        name = "load calibration images" if made is None else made.info.name
        key = prepared.origin, str(self.device)
        stages = Stages(self.device, self.session.savings, self.progress, self._images_forwarded) if done else self.stages
        with stages.stage(name, 0 if made is None else prepared.spec.calib) as notes:
            images = self.session.opened.once(
                "calibration", key, lambda: self._new_images(notes), forwards=self._images_forwarded
            )
        if made is not None and self.share:
            GeneratedImages(self.store, prepared.origin).save(images, stages.rows[-1], environment(self.device))
        return images

    def _new_images(self, notes: dict[str, Any]) -> Tensor:
        prepared, spec = self.prepared, self.prepared.spec
        if prepared.calib_source is None:
            return prepared.source.calibration(spec.calib, spec.seed, prepared.preprocessing).images.to(self.device)
        context = Context(bits=prepared.bits, seed=spec.seed, progress=self.progress, notes=notes)
        return prepared.calib_source.source.images(self.quantized, spec.calib, prepared.preprocessing, context)

    def _kept_images(self, done: int) -> Tensor | None:
        """Images that another trial has made."""
        kept = GeneratedImages(self.store, self.prepared.origin)
        try:
            found = kept.load()
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            self.progress.say(f"warning: {kept.path} is not used: {type(error).__name__}: {error}")
            return None
        if found is None:
            return None
        images, stage, machine = found
        if not done:
            self.stages.reuse([stage], self.prepared.origin, machine)
        return images

    def _apply(self, step: StackStep, number: int, calibration: CalibrationSet) -> None:
        prepared = self.prepared
        folder = self.states.folder(prepared.prefixes[number])
        began, forwards = time.perf_counter(), self.quantized.image_forwards
        self.checkpoint = checkpoint = Checkpoint(
            folder / "partial.safetensors" if self.reuse else None,
            lambda: (time.perf_counter() - began, self.quantized.image_forwards - forwards),
        )
        self.progress.interruptible(checkpoint.flush)
        with self.stages.stage(step.info.name, len(calibration), checkpoint) as notes:
            context = Context(
                bits=prepared.bits,
                seed=prepared.spec.seed,
                progress=self.progress,
                notes=notes,
                memo=self.session.memo if self.share else Memo(),
                budget=self.budget,
                origin=prepared.origin,
                prefix=prepared.prefixes[number - 1] if number else prepared.origin,
                checkpoint=checkpoint,
            )
            if step.method.protocol == Protocol.PAPER:
                context.evaluate = self.top1
            with self.budget.measured() as usage:
                step.method.apply(self.quantized, calibration, context)
            notes.update(usage.facts())
        checkpoint.remove()

    def top1(self) -> float:
        """Top-1 on the evaluation images, for methods that are marked as seeing them."""
        data = self.prepared.source.evaluation(self.prepared.spec.eval_limit, self.prepared.preprocessing)
        return top1(self.quantized, data, self.prepared.spec.batch)

    def evaluate(self) -> None:
        """Measure accuracy and describe the quantized model."""
        prepared, model = self.prepared, self.quantized
        data = prepared.source.evaluation(prepared.spec.eval_limit, prepared.preprocessing)
        reference = StoredReference(
            self.store, prepared.identity, prepared.spec.batch, environment(self.device), read=self.reuse
        )
        with self.stages.stage("evaluate", len(data)):
            result = evaluate(model, data, prepared.spec.batch, self.progress, reference)
            if reference.known is not None:
                self.session.savings.add(reference.seconds, len(data))
        if self.share and reference.known is None:
            reference.save()
        self.bitmap = result.bitmap()
        off_grid = inventory.off_grid_sites(model)
        self.results = Record(
            metrics=result.metrics(),
            anchor=anchored(prepared.model.name, result),
            on_grid=not off_grid,
            off_grid_sites=off_grid,
            coverage=[dict(row) for row in inventory.coverage(model)],
            size_bytes=inventory.size_bytes(model),
            size_bytes_fp32=inventory.full_precision_bytes(model),
            bit_operations=inventory.bit_operations(model),
            bit_operations_fp32=inventory.full_precision_bit_operations(model),
        )

    def _memory(self) -> dict[str, Any]:
        """How memory was laid out and kept in bounds; none of it changes results beyond rounding."""
        facts: dict[str, Any] = {"memory_budget_bytes": self.budget.limit}
        if hasattr(self, "quantized"):
            facts["channels_last"] = self.quantized.channels_last
            if self.quantized.batch_limit is not None:
                facts["batch_reduced_to"] = self.quantized.batch_limit
        return facts

    def record(self, status: str) -> Record:
        """The record of what was done so far."""
        prepared, spec = self.prepared, self.prepared.spec
        stack, source = str(prepared.stack), str(prepared.calib_source or DATA)
        record = Record(
            schema_version=SCHEMA_VERSION,
            id=prepared.id,
            status=status,
            model=prepared.model.name,
            data={
                "name": spec.data_name,
                "fingerprint": prepared.source.fingerprint,
                "split": prepared.source.split,
                "eval_limit": spec.eval_limit,
                "preprocessing": prepared.preprocessing.as_dict(),
            },
            bits=str(prepared.bits),
            stack=stack,
            calib=spec.calib,
            calib_source=source,
            seed=spec.seed,
            asked=replace(spec, method=stack, calib_source=source).as_dict(),
            protocol=prepared.stack.protocol,
            stages=self.stages.rows,
            seconds=round(time.perf_counter() - self.started, 3),
            weights={"sha256": prepared.model.weights_sha256, "source": prepared.model.weights_source},
            spec=dict(prepared.identity),
            command=replace(spec, calib_source=source).command(stack),
            environment={**environment(self.device), **self._memory(), "evaluation_batch": spec.batch},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        record.update(self.results)
        return record
