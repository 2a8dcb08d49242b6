"""What the files of a sweep and of a running trial look like.

They are checked where they are read, by status, resume, cancel and the store's check alike: one that is truncated or foreign
is named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypeVar

from annotated_types import Ge
from pydantic import AfterValidator, ConfigDict, StringConstraints, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json
from typing_extensions import TypedDict  # typing's own cannot be checked before Python 3.12

from harness.errors import UsageError
from harness.store.reading import contents, reason_of
from harness.trial.record import Count, Id
from harness.trial.record_check import worded

T = TypeVar("T")
FORMAT = 1
MOST_BYTES = 2**30  # of the file of a sweep
_STRICT = with_config(ConfigDict(strict=True, allow_inf_nan=False, extra="allow"))  # later versions may add keys
JobId = Annotated[str, StringConstraints(pattern=r"^[0-9]+(_[0-9]+)?$")]  # it becomes an argument of SLURM's commands
JobName = Annotated[str, StringConstraints(pattern=r"^[\w.-]+$", max_length=100)]


@_STRICT
class SweepRow(TypedDict):
    """One trial of a sweep."""

    id: Id
    skipped: bool
    spec: dict[str, Any]


@_STRICT
class SweepContent(TypedDict):
    """``sweep.json``."""

    format: Literal[1]
    name: str
    about: str
    created: str
    command: str
    launcher: dict[str, Any]
    trials: list[SweepRow]


@_STRICT
class ProcessFacts(TypedDict):
    """A process, so that it can be told from a later one with the same number."""

    host: str
    pid: Annotated[int, Ge(2)]
    started: float
    ended: NotRequired[bool]


@_STRICT
class ArrayFacts(TypedDict):
    """One array of jobs: packs ``first`` to ``first + count - 1``, at most ``parallel`` of them at a time."""

    first: Annotated[int, Ge(0)]
    count: Annotated[int, Ge(1)]
    parallel: Annotated[int, Ge(1)]


@_STRICT
class PacksContent(TypedDict):
    """``packs.json``: written before anything starts.

    ``by`` is the process that submits, ``job_name`` what its jobs are called in the queue, ``user`` their owner's number.
    """

    packs: list[list[Id]]
    created: str
    launcher: NotRequired[dict[str, Any]]
    share: NotRequired[bool]
    fail_fast: NotRequired[bool]
    changes: NotRequired[dict[str, Any]]
    code: NotRequired[str]
    arrays: NotRequired[list[ArrayFacts]]
    job_name: NotRequired[JobName]
    user: NotRequired[Annotated[int, Ge(0)]]
    by: NotRequired[ProcessFacts]


@_STRICT
class JobsContent(TypedDict):
    """``jobs.json``: job ids in the order of the packs, or the process of the local launcher."""

    slurm: NotRequired[list[JobId]]
    local: NotRequired[ProcessFacts]


@_STRICT
class PackOrder(TypedDict):
    """A line of ``orders.jsonl``: everything that the job of one pack needs to know."""

    share: bool
    fail_fast: bool
    changes: dict[str, Any]
    gpus: Annotated[int, Ge(0)]
    cpus: Annotated[int, Ge(0)]
    trials: list[SweepRow]


@with_config(ConfigDict(strict=True, allow_inf_nan=False, extra="ignore"))
class BeatContent(TypedDict):
    """``heartbeat.json``; ``harness.sweep.heartbeat.Beat`` says what the values mean."""

    host: str
    pid: Count
    started_process: float
    job: NotRequired[Annotated[str, StringConstraints(pattern=r"^([0-9]+(_[0-9]+)?)?$")]]
    stage: NotRequired[str]
    step: NotRequired[float]
    steps: NotRequired[float]
    started: NotRequired[float]
    beat: NotRequired[float]
    interrupted: NotRequired[bool]


def _of_a_launcher(content: JobsContent) -> JobsContent:
    if "slurm" not in content and "local" not in content:
        raise ValueError("has neither jobs of SLURM nor a local launcher")
    return content


SWEEP: TypeAdapter[SweepContent] = TypeAdapter(SweepContent)
PACKS: TypeAdapter[PacksContent] = TypeAdapter(PacksContent)
JOBS: TypeAdapter[JobsContent] = TypeAdapter(Annotated[JobsContent, AfterValidator(_of_a_launcher)])
ORDER: TypeAdapter[PackOrder] = TypeAdapter(PackOrder)
BEAT: TypeAdapter[BeatContent] = TypeAdapter(BeatContent)


class BrokenSweepFileError(UsageError):
    """A file of a sweep that is truncated, foreign or of another version; the message names it and the reason.

    Attributes:
        reason: What is wrong, without the name of the file.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where} is not readable: {reason}")
        self.reason = reason


def read(path: Path, kind: TypeAdapter[T]) -> T:
    """The content of one of these files.

    Raises:
        FileNotFoundError: There is no such file.
        BrokenSweepFileError: It is not what it should be.
    """
    try:
        text = contents(path, MOST_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BrokenSweepFileError(str(path), reason_of(error)) from error
    return parse(text, kind, str(path))


def parse(text: bytes, kind: TypeAdapter[T], where: str) -> T:
    """The content of a text of JSON.

    Raises:
        BrokenSweepFileError: It is not what it should be; ``where`` is named.
    """
    try:
        content: T = kind.validate_python(from_json(text, allow_inf_nan=False))
    except ValidationError as error:
        found = error.errors(include_url=False)
        more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
        raise BrokenSweepFileError(where, worded(found[0]) + more) from error
    except ValueError as error:
        raise BrokenSweepFileError(where, f"no JSON: {error}") from error
    return content
