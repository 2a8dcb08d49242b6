"""Measurements of latency: how long an exported file takes beside its float32 model, on one machine.

They lie beside the record of their trial, each a file of its own, because a record never changes and a trial may be measured
on many machines. The types are checked (``harness/trial/latency_check.py``) wherever a measurement comes in from a file.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, cast

from annotated_types import Ge, Gt, Le, MaxLen
from typing_extensions import TypedDict  # typing's own cannot be checked before Python 3.12

from harness.trial.identity import ID_LENGTH
from harness.trial.record import Count, Id, MachineLoad, Whole

SCHEMA_VERSION = 1
SHOWN_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "asimddp", "i8mm")  # what decides integer products

Text = Annotated[str, MaxLen(300)]
Milliseconds = Annotated[float, Gt(0), Le(1e9)]
Ratio = Annotated[float, Gt(0), Le(1e9)]
Several = Annotated[int, Ge(1), Le(10**9)]


class Computer(TypedDict):
    """What computed: a GPU's name or ``cpu`` as ``device``, and the instruction sets of the processor that matter."""

    device: Text
    cpu: Text | None
    flags: Annotated[list[Text], MaxLen(1000)]
    cores: Count | None
    platform: Text


class TimedFile(TypedDict):
    """A file that was timed; its name, never where it was."""

    name: Text
    bytes: Several
    sha256: Text


class TimedBatch(TypedDict):
    """What was measured at one batch size.

    ``ratio`` is the median over rounds of quantized over float32 time; below 1 the quantized file is faster. ``low`` and
    ``high`` are its 95 % interval by order statistics. Times are medians for one batch. In a round each file runs
    ``repeats`` times.
    """

    batch: Several
    rounds: Several
    repeats: Several
    quantized_ms: Milliseconds
    float32_ms: Milliseconds
    ratio: Ratio
    low: Ratio
    high: Ratio


class Latency(TypedDict):
    """One measurement on one machine.

    ``others`` is how many cores other processes kept busy on average while it ran, ``quiet`` whether that was next to none;
    both are None where the system does not say. ``pinned`` says whether the process was kept on ``threads`` cores.
    """

    schema_version: Whole
    trial: Id
    created: Text
    runtime: Text
    threads: Several
    pinned: bool
    computer: Computer
    load: MachineLoad | None
    others: Annotated[float, Ge(0), Le(1e9)] | None
    quiet: bool | None
    quantized: TimedFile
    float32: TimedFile
    batches: Annotated[list[TimedBatch], MaxLen(1000)]
    commit: Text | None


def digest_of(measurement: Latency) -> str:
    """16 hexadecimal digits over all of a measurement: the name of its file, which shows when one was changed."""
    canonical = json.dumps(measurement, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:ID_LENGTH]


def of_trial(measurement: Latency, trial: str) -> Latency:
    """The same measurement under the id that its trial has now."""
    changed: dict[str, Any] = {**measurement, "trial": trial}
    return cast(Latency, changed)


def place_of(measurement: Latency) -> str:
    """What latencies may be compared on: processor and instruction sets or GPU, threads, runtime with its version."""
    computer = measurement["computer"]
    threads = f"{measurement['threads']} thread{'s' if measurement['threads'] > 1 else ''}"
    if computer["device"] != "cpu":
        return f"{computer['device']}, {measurement['runtime']}"
    flags = [flag for flag in SHOWN_FLAGS if flag in computer["flags"]]
    name = (computer["cpu"] or "unknown CPU") + (f" ({', '.join(flags)})" if flags else "")
    return f"{name}, {threads}, {measurement['runtime']}"
