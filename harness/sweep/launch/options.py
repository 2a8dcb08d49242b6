"""Options of the launchers, checked before anything is started."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.errors import UsageError, nearest
from harness.method import settings

SHORTEST_MINUTES = 15


@dataclass(frozen=True)
class LocalOptions:
    """Worker processes on this machine."""

    kind: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=0, description="processes; 0: one per GPU, without GPUs one per four cores")] = 0


@dataclass(frozen=True)
class SlurmOptions:
    """SLURM array jobs through submitit."""

    kind: Literal["slurm"] = "slurm"
    partition: Annotated[str | None, Field(description="partition")] = None
    account: Annotated[str | None, Field(description="account to charge")] = None
    qos: Annotated[str | None, Field(description="quality of service")] = None
    gpus: Annotated[int, Field(ge=0, description="GPUs per job; a trial uses one")] = 1
    cpus: Annotated[int, Field(ge=1, description="CPU cores per job")] = 8
    memory_gb: Annotated[float, Field(gt=0, description="memory per job in GB")] = 32
    timeout_min: Annotated[int, Field(description="time limit of a job in minutes, at least 15")] = 240
    constraint: Annotated[str | None, Field(description="node features, for example h200")] = None
    array_parallelism: Annotated[int, Field(ge=1, description="jobs at the same time")] = 64
    pack: Annotated[int, Field(ge=0, description="trials per job; 0: as many as fill half the time limit")] = 0
    max_timeouts: Annotated[int, Field(ge=0, description="times a job may run out of time and be queued again")] = 3
    setup: Annotated[list[str], Field(description="shell lines before the job, for example module load cuda")] = field(
        default_factory=list
    )
    sbatch: Annotated[dict[str, Any], Field(description="further sbatch options, for example reservation")] = field(
        default_factory=dict
    )


Options = LocalOptions | SlurmOptions
KINDS: dict[str, type[LocalOptions] | type[SlurmOptions]] = {"local": LocalOptions, "slurm": SlurmOptions}


def launcher_options(values: dict[str, Any]) -> Options:
    """Checked options from plain values.

    Raises:
        UsageError: An unknown launcher or option, a wrong value, or a time limit that is too short.
    """
    kind = str(values.get("kind"))
    if kind not in KINDS:
        raise UsageError(f"unknown launcher {kind!r}.{nearest(kind, KINDS)} Expected {' or '.join(KINDS)}")
    built: Options | None
    built, problems = settings.build(KINDS[kind], values, f"launcher {kind}")
    if problems or built is None:
        raise UsageError("; ".join(f"{problem.text} ({problem.fix})" for problem in problems))
    if isinstance(built, SlurmOptions) and built.timeout_min < SHORTEST_MINUTES:
        raise UsageError(
            f"time limit of {built.timeout_min} minutes is too short: expected at least {SHORTEST_MINUTES}",
            "below that, a preemption cannot be distinguished from a time-out, and jobs would not be requeued",
        )
    return built
