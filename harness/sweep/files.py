"""What the files of a sweep look like. They are checked where they are read: one that is truncated or foreign is named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypeVar

from annotated_types import Ge
from pydantic import AfterValidator, ConfigDict, StringConstraints, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json
from typing_extensions import TypedDict  # typing's own cannot be checked before Python 3.12

from harness.errors import UsageError
from harness.store.reading import contents, reason_of
from harness.trial.record import Id

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


def _of_a_launcher(content: JobsContent) -> JobsContent:
    if "slurm" not in content and "local" not in content:
        raise ValueError("expected slurm or local")
    return content


SWEEP: TypeAdapter[SweepContent] = TypeAdapter(SweepContent)
PACKS: TypeAdapter[PacksContent] = TypeAdapter(PacksContent)
JOBS: TypeAdapter[JobsContent] = TypeAdapter(Annotated[JobsContent, AfterValidator(_of_a_launcher)])
ORDER: TypeAdapter[PackOrder] = TypeAdapter(PackOrder)


class BrokenSweepFileError(UsageError):
    """A file of a sweep that is truncated, foreign or of another version; the message names it and the reason."""


def read(path: Path, kind: TypeAdapter[T]) -> T:
    """The content of one of a sweep's files.

    Raises:
        FileNotFoundError: There is no such file.
        BrokenSweepFileError: It is not what it should be.
    """
    try:
        text = contents(path, MOST_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BrokenSweepFileError(f"{path} is not readable: {reason_of(error)}") from error
    return parse(text, kind, str(path))


def parse(text: bytes, kind: TypeAdapter[T], where: str) -> T:
    """The content of a text of JSON.

    Raises:
        BrokenSweepFileError: It is not what it should be; ``where`` is named.
    """
    try:
        content: T = kind.validate_python(from_json(text, allow_inf_nan=False))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise BrokenSweepFileError(f"{where} is not readable: {place}: {first['msg']}") from error
    except ValueError as error:
        raise BrokenSweepFileError(f"{where} is not readable: {error}") from error
    return content
