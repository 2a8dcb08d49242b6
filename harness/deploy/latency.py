"""How long an exported file takes beside its float32 model, in the same runtime on the same cores."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from harness.deploy.runtime import Session, needing, open_session
from harness.deploy.timing import Clock, compare
from harness.errors import UsageError
from harness.machine.cores import cpu_flags, is_quiet, others_between, pinned, ticks
from harness.machine.measure import COMMIT, cpu_name, load_per_core
from harness.store.reading import reason_of, sha256_of
from harness.trial.latency import SCHEMA_VERSION, Computer, Latency, TimedBatch, TimedFile

MOST_VALUES = 2**28  # of a batch: one GiB; a file may say that it reads anything
OPENVINO = ".xml"  # suffix of its files
Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What to measure.

    Attributes:
        runtime: Of both files.
        threads: How many cores.
        batches: Images a run.
        rounds: Pairs of samples that count.
        warm_up: Pairs of runs before, which do not.
        seed: Draws images and the order in each round.
    """

    runtime: str = "onnxruntime"
    threads: int = 1
    batches: tuple[int, ...] = (1, 32)
    rounds: int = 40
    warm_up: int = 5
    seed: int = 0


def measure(
    quantized: Path, float32: Path, trial: str, asked: Asked, say: Say = lambda _: None, clock: Clock = time.perf_counter
) -> Latency:
    """Time two files against each other.

    Args:
        quantized: The exported file.
        float32: The same network in full precision.
        trial: Id of the trial.
        asked: What to measure.
        say: Hears what is done now.
        clock: Seconds from some moment on.

    Raises:
        UsageError: A file cannot be computed, they are not of the same network, a batch size is not possible, or this
            process may not use so many cores.
    """
    shape = _same_input(quantized, float32, asked.batches)
    files = _timed_file(quantized), _timed_file(float32)
    load = load_per_core()
    with pinned(asked.threads) as kept:  # before the sessions: their threads stay where they are made
        sessions = [open_session(path, asked.runtime, asked.threads) for path in (float32, quantized)]
        started = ticks()
        batches = [_batch(sessions, shape, batch, asked, say, clock) for batch in asked.batches]
        others = others_between(started, ticks())
    ends = {"start": load, "end": load_per_core()}
    return Latency(
        schema_version=SCHEMA_VERSION,
        trial=trial,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        runtime=sessions[0].version,
        threads=asked.threads,
        pinned=kept,
        computer=_computer(),
        load=None if None in ends.values() else {"start": ends["start"], "end": ends["end"]},
        others=others,
        quiet=is_quiet(others, os.cpu_count()),
        quantized=files[0],
        float32=files[1],
        batches=batches,
        commit=COMMIT,
    )


def _batch(
    sessions: Sequence[Session], shape: tuple[int, ...], batch: int, asked: Asked, say: Say, clock: Clock
) -> TimedBatch:
    """One batch size: check that both give the same kind of logits, then time them."""
    say(f"batch {batch}: {asked.rounds} rounds")
    if batch * math.prod(shape) > MOST_VALUES:
        raise UsageError(
            f"a batch of {batch} images {shape} has more than {MOST_VALUES:,} values", "give fewer with --batch"
        )
    images = np.random.default_rng(asked.seed).standard_normal((batch, *shape), dtype=np.float32)
    logits = [_shape_of_logits(session, images) for session in sessions]
    if logits[0] != logits[1]:
        raise UsageError(f"the files are of different networks: float32 gives logits {logits[0]}, quantized {logits[1]}")
    first, second = (lambda one=session: one.run(images) for session in sessions)
    found = compare(first, second, asked.rounds, asked.warm_up, asked.seed, clock)
    return TimedBatch(
        batch=batch,
        rounds=found.rounds,
        repeats=found.repeats,
        quantized_ms=1000 * found.second,
        float32_ms=1000 * found.first,
        ratio=found.ratio,
        low=found.low,
        high=found.high,
    )


def _shape_of_logits(session: Session, images: np.ndarray) -> tuple[int, ...]:
    """The shape of what a file computes from these images.

    Raises:
        UsageError: It cannot compute them, or gives no array.
    """
    try:
        logits = session.run(images)
    except Exception as error:  # a runtime has a class of its own for every status, and they share no base
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"{session.version} cannot compute {len(images)} images with the file: {reason}") from error
    if not isinstance(logits, np.ndarray):
        raise UsageError(f"the file gives {type(logits).__name__}, expected logits")
    return logits.shape


def _same_input(quantized: Path, float32: Path, batches: Sequence[int]) -> tuple[int, ...]:
    """Channels, height and width of the images that both read."""
    onnx_input = needing(("onnx",), "export", "harness.deploy.onnx_input")
    files = [path for path in (float32, quantized) if path.suffix != OPENVINO]  # of those the runtime itself says it
    found = [onnx_input.input_of(path) for path in files]
    if not found:
        raise UsageError(f"{str(float32)!r} is no ONNX file", "give the float32 model as one")
    if found[0].image != found[-1].image:
        sizes = f"float32 reads images {found[0].image}, quantized {found[-1].image}"
        raise UsageError(f"the files are of different networks: {sizes}")
    for path, one in zip(files, found, strict=True):
        wrong = next((batch for batch in batches if one.batch not in (None, batch)), None)
        if wrong is not None:
            raise UsageError(f"{str(path)!r} reads batches of {one.batch}, not of {wrong}", f"use --batch {one.batch}")
    image: tuple[int, ...] = found[0].image
    return image


def _timed_file(path: Path) -> TimedFile:
    """A file with what belongs to it: OpenVINO keeps weights in a second one."""
    parts = [path, path.with_suffix(".bin")] if path.suffix == OPENVINO else [path]
    try:
        digests = [sha256_of(part) for part in parts]
        size = sum(part.stat().st_size for part in parts)
    except OSError as error:
        raise UsageError(f"{error.filename!r} cannot be read: {reason_of(error)}") from error
    return TimedFile(name=path.name, bytes=size, sha256=" ".join(digests))


def _computer() -> Computer:
    return Computer(
        device="cpu", cpu=cpu_name() or None, flags=cpu_flags(), cores=os.cpu_count(), platform=platform.platform()
    )
