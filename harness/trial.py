"""One trial from its specification to its record: the one function that does the work."""

from __future__ import annotations

import shlex
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from harness import stack as stacks
from harness.bits import Bits
from harness.data import CalibrationSet, DataSource, open_source
from harness.data.preprocessing import Preprocessing, of_model
from harness.data.sets import check_count, check_limit
from harness.data.sources import check_classes
from harness.errors import HarnessError, UsageError
from harness.evaluate import evaluate, top1
from harness.identity import content_id
from harness.measure import environment, meter
from harness.method import Context, Protocol
from harness.models import LoadedModel, load_model
from harness.progress import Progress
from harness.quant import inventory
from harness.quant.qmodel import QuantizedModel, quantizable
from harness.quant.state import save_state
from harness.record import SCHEMA_VERSION, Record
from harness.store import Store, write_aside


@dataclass(frozen=True)
class TrialSpec:
    """What the user asked for.

    Attributes:
        method: Stack of methods.
        model: timm name or ``embedded``.
        weights: Safetensors file, or None for the embedded or downloaded weights.
        data: ``embedded`` or the path of an image folder.
        bits: Widths, for example ``w4a8``.
        calib: Number of calibration images.
        seed: Seed of the calibration draw and of everything random in methods.
        eval_limit: Number of evaluation images; None for all.
        preprocess: Overrides of the model's preprocessing.
        batch: Evaluation batch; not part of the identity.
        device: torch device; not part of the identity.
    """

    method: str
    model: str = "embedded"
    weights: Path | None = None
    data: str = "embedded"
    bits: str = "w8a8"
    calib: int = 256
    seed: int = 0
    eval_limit: int | None = None
    preprocess: Mapping[str, str] = field(default_factory=dict)
    batch: int = 64
    device: str = "cpu"

    def command(self, stack: str) -> str:
        """The command line that repeats the trial."""
        words = ["harness", "run", "--method", stack, "--model", self.model, "--bits", self.bits]
        words += ["--data", self.data, "--calib", str(self.calib), "--seed", str(self.seed)]
        words += ["--weights", str(self.weights)] if self.weights else []
        words += ["--eval-limit", str(self.eval_limit)] if self.eval_limit is not None else []
        words += [word for key, value in self.preprocess.items() for word in ("--preprocess", f"{key}={value}")]
        return shlex.join(words)


@dataclass(frozen=True)
class _Prepared:
    """A checked trial, ready to run."""

    spec: TrialSpec
    stack: stacks.Stack
    bits: Bits
    model: LoadedModel
    source: DataSource
    preprocessing: Preprocessing
    identity: dict[str, Any]
    id: str


def run_trial(
    spec: TrialSpec, store: Store, progress: Progress | None = None, *, force: bool = False
) -> tuple[Record, bool]:
    """Run a trial, or return its stored record when it is already done.

    Args:
        spec: The trial.
        store: Where records are kept.
        progress: Display.
        force: Run again although a done record exists.

    Returns:
        The record (``done`` or ``failed``) and whether it came from the store.

    Raises:
        UsageError: The trial cannot be run as asked; nothing was done.
    """
    progress = progress or Progress()
    prepared = prepare(spec)
    stored = store.get(prepared.id)
    if stored is not None and stored["status"] == "done" and not force:
        return stored, True
    store.check_writable()
    run = _Run(prepared, progress)
    try:
        with _memory_errors_named():
            run.quantize()
            run.evaluate()
    except Exception as error:  # every failure becomes a record with its reason
        record = run.record("failed")
        record["error"] = {"kind": _kind(error), "message": str(error)[:2000], "traceback": traceback.format_exc()[-4000:]}
        store.save(record)
        return record, False
    record = run.record("done")
    folder = store.folder(prepared.id)
    folder.mkdir(parents=True, exist_ok=True)
    write_aside(folder / "quantizers.safetensors", lambda path: save_state(run.quantized, path))
    store.save(record, run.bitmap)
    return record, False


@contextmanager
def _memory_errors_named() -> Iterator[None]:
    """Turn torch's many out-of-memory messages into one kind."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(str(error).split("\n")[0] or "out of memory") from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "out of memory" in str(error).lower():
            raise OutOfMemoryError(str(error).split("\n")[0]) from error
        raise


class OutOfMemoryError(HarnessError):
    """The machine's or the GPU's memory did not suffice."""

    kind = "oom"


def _kind(error: Exception) -> str:
    return error.kind if isinstance(error, HarnessError) else "bug"


def prepare(spec: TrialSpec) -> _Prepared:
    """Check everything that can be checked before any work and compute the trial's id.

    Raises:
        UsageError: Something is wrong with the stack, bits, model, weights, data or device.
    """
    bits = Bits.parse(spec.bits)
    stack = stacks.check(spec.method)
    _check_device(spec.device)
    source = open_source(spec.data)
    check_count(source.calibration_size, spec.calib, source.name)
    check_limit(spec.eval_limit)
    model = load_model(spec.model, spec.weights)
    check_classes(source, model.classes, model.name)
    preprocessing = of_model(model.network, spec.preprocess)
    identity = {
        "model": model.name,
        "weights_sha256": model.weights_sha256,
        "data_fingerprint": source.fingerprint,
        "preprocessing": preprocessing.as_dict(),
        "eval_limit": spec.eval_limit,
        "stack": stack.identity(),
        "bits": str(bits),
        "calib": spec.calib,
        "seed": spec.seed,
    }
    return _Prepared(spec, stack, bits, model, source, preprocessing, identity, content_id(identity))


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise UsageError(f"device {device!r} not understood: expected cpu, cuda or cuda:N") from error
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"device {device!r} is not supported: expected cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {device!r} asked for, but torch finds no CUDA GPU", "use --device cpu")


class _Run:
    """The work of one trial; keeps what was measured so far, also for a failure's record."""

    def __init__(self, prepared: _Prepared, progress: Progress) -> None:
        self.prepared = prepared
        self.progress = progress
        self.device = torch.device(prepared.spec.device)
        self.stages: list[Any] = []
        self.results = Record()
        self.started = time.perf_counter()
        self.quantized: QuantizedModel
        self.bitmap: Any = None

    def quantize(self) -> None:
        """Capture the network, draw calibration images, apply the methods in order."""
        prepared = self.prepared
        with self.stage("capture"):
            network, size = prepared.model.network, prepared.preprocessing.input_size
            self.quantized = quantizable(network, size, prepared.model.name).to(self.device)
        with self.stage("load calibration images"):
            drawn = prepared.source.calibration(prepared.spec.calib, prepared.spec.seed, prepared.preprocessing)
            calibration = CalibrationSet(drawn.images.to(self.device))
        for step in prepared.stack.steps:
            with self.stage(step.info.name, len(calibration)) as notes:
                context = Context(prepared.bits, prepared.spec.seed, self.progress, notes=notes)
                if step.method.protocol == Protocol.PAPER:
                    context.evaluate = self.top1
                step.method.apply(self.quantized, calibration, context)

    def top1(self) -> float:
        """Top-1 on the evaluation images, for methods that are marked as seeing them."""
        data = self.prepared.source.evaluation(self.prepared.spec.eval_limit, self.prepared.preprocessing)
        return top1(self.quantized, data, self.prepared.spec.batch)

    def evaluate(self) -> None:
        """Measure accuracy and describe the quantized model."""
        prepared, model = self.prepared, self.quantized
        data = prepared.source.evaluation(prepared.spec.eval_limit, prepared.preprocessing)
        with self.stage("evaluate", len(data)):
            result = evaluate(model, data, prepared.spec.batch, self.progress)
        self.bitmap = result.bitmap()
        off_grid = inventory.off_grid_sites(model)
        self.results = Record(
            metrics=result.metrics(),
            on_grid=not off_grid,
            off_grid_sites=off_grid,
            coverage=[dict(row) for row in inventory.coverage(model)],
            size_bytes=inventory.size_bytes(model),
            size_bytes_fp32=inventory.full_precision_bytes(model),
            bit_operations=inventory.bit_operations(model),
            bit_operations_fp32=inventory.full_precision_bit_operations(model),
        )

    @contextmanager
    def stage(self, name: str, images: int = 0) -> Iterator[dict[str, Any]]:
        """Measure a block as one stage of the record; yields the dictionary of its notes."""
        notes: dict[str, Any] = {}
        before = self.quantized.image_forwards if hasattr(self, "quantized") else 0.0
        measurement = None
        try:
            with meter(self.device) as measurement:
                yield notes
        finally:
            forwards = self.quantized.image_forwards - before if hasattr(self, "quantized") else 0.0
            assert measurement is not None
            self.stages.append(
                {
                    "name": name,
                    "seconds": round(measurement.seconds, 4),
                    "forward_passes": round(forwards / images, 4) if images else 0.0,
                    "image_forwards": round(forwards, 2),
                    "peak_memory_bytes": measurement.peak_memory_bytes,
                    "notes": notes,
                }
            )

    def record(self, status: str) -> Record:
        """The record of what was done so far."""
        prepared, spec = self.prepared, self.prepared.spec
        stack = str(prepared.stack)
        record = Record(
            schema_version=SCHEMA_VERSION,
            id=prepared.id,
            status=status,
            model=prepared.model.name,
            data={
                "name": "embedded" if spec.data == "embedded" else Path(spec.data).name,
                "fingerprint": prepared.source.fingerprint,
                "split": prepared.source.split,
                "eval_limit": spec.eval_limit,
                "preprocessing": prepared.preprocessing.as_dict(),
            },
            bits=str(prepared.bits),
            stack=stack,
            calib=spec.calib,
            seed=spec.seed,
            protocol=prepared.stack.protocol,
            stages=self.stages,
            seconds=round(time.perf_counter() - self.started, 3),
            weights={"sha256": prepared.model.weights_sha256, "source": prepared.model.weights_source},
            spec=prepared.identity,
            command=spec.command(stack),
            environment={**environment(self.device), "evaluation_batch": spec.batch},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        record.update(self.results)
        return record
