"""Records: what a trial was, what came out, what it cost. Plain JSON with a schema version.

The types below are checked wherever a record comes in from a file; inside the program records are plain dictionaries. Keys
that are not named here are allowed and survive: a later version may add some.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, cast, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import ErrorDetails, from_json
from typing_extensions import TypedDict  # typing's own cannot be checked before Python 3.12

from harness.trial.identity import ID_LENGTH, ID_PATTERN

SCHEMA_VERSION = 1
Status = Literal["done", "failed", "skipped"]
NOT_DONE: tuple[Status, ...] = ("failed", "skipped")
Kind = Literal["oom", "timeout", "preempted", "incompatible", "diverged", "killed", "bug", "usage", "data", "model"]
KINDS: tuple[Kind, ...] = get_args(Kind)

LARGEST = 2**63 - 1  # tables hold whole numbers of 64 bits
Whole = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Id = Annotated[str, Field(pattern=ID_PATTERN)]


class Stage(TypedDict):
    """Cost of one step.

    ``forward_passes`` counts passes of the whole calibration set through the whole network (parts of the network count
    by their share of multiply-accumulates); ``image_forwards`` is the same times the number of calibration images. For
    the stage ``evaluate`` one pass is the evaluation set once in one precision. All of them are what the stage costs
    alone; the ``shared_`` parts were not spent by this trial, because another one had done the work.
    """

    name: str
    seconds: float
    shared_seconds: NotRequired[float]
    forward_passes: NotRequired[float]
    image_forwards: NotRequired[float]
    shared_image_forwards: NotRequired[float]
    peak_memory_bytes: NotRequired[Count]
    notes: NotRequired[dict[str, Any]]


class ErrorInfo(TypedDict):
    """Why a trial failed or was skipped."""

    kind: Kind
    message: str
    traceback: NotRequired[str]


class Metrics(TypedDict, total=False):
    """Percentages and counts over the evaluation images; the ratio of signal to error is None where there is no error."""

    top1: float
    top5: float
    top1_fp32: float
    top5_fp32: float
    agreement: float
    logit_sqnr_db: float | None
    logit_mse: float | None
    n_images: Annotated[int, Field(ge=1, le=LARGEST)]
    n_correct: Count
    n_correct_top5: Count
    n_correct_fp32: Count
    n_correct_top5_fp32: Count
    n_agree: Count


class CoverageRow(TypedDict):
    """One tensor class: how many of its sites are quantized and how."""

    tensors: str
    quantized: Count
    total: Count
    bits: list[Whole]
    granularity: list[str]


class Data(TypedDict):
    """The images: a name, a hash over what they are, and how they become the network's input."""

    name: str
    fingerprint: str
    split: NotRequired[str]
    eval_limit: NotRequired[Whole | None]
    preprocessing: NotRequired[dict[str, Any]]


class Step(TypedDict):
    """One step of the stack with all its settings."""

    name: str
    version: Whole
    config: dict[str, Any]


class Identity(TypedDict, total=False):
    """What the id is the hash of; empty for a trial that never ran."""

    model: str
    weights_sha256: str
    data_fingerprint: str
    preprocessing: dict[str, Any]
    eval_limit: Whole | None
    stack: list[Step]
    bits: str
    calib: Count
    seed: Count


class Environment(TypedDict, total=False):
    """The machine and the versions; not part of the identity."""

    device: str
    cpu: str | None
    threads: Count | None
    commit: str | None
    versions: dict[str, str | None]
    evaluation_batch: Count


class Anchor(TypedDict, total=False):
    """The published full-precision accuracy of the network, and how far ours is from it."""

    top1: float
    images: Count
    source: str
    difference: float | None


class Results(TypedDict, total=False):
    """What only a trial that was evaluated has."""

    metrics: Metrics
    on_grid: bool
    off_grid_sites: list[str]
    coverage: list[CoverageRow]
    size_bytes: Count
    size_bytes_fp32: Count
    bit_operations: Count
    bit_operations_fp32: Count
    anchor: Anchor


@with_config(ConfigDict(strict=True, allow_inf_nan=False))
class Record(Results):
    """The result of a trial, also when it failed or was skipped. Everything a table shows can be traced to one."""

    schema_version: Whole
    id: Id
    status: Status
    model: str
    data: Data
    bits: str
    stack: str
    calib: Count
    calib_source: NotRequired[str]
    seed: Count
    asked: NotRequired[dict[str, Any]]
    protocol: str
    stages: list[Stage]
    seconds: NotRequired[float]
    weights: NotRequired[dict[str, str]]
    spec: Identity
    command: str
    environment: Environment
    created: str
    error: NotRequired[ErrorInfo]
    imported: NotRequired[dict[str, str]]


REQUIRED_DONE = ("metrics", "on_grid", "coverage", "size_bytes", "bit_operations")
METRICS_DONE = ("top1", "top1_fp32", "agreement", "n_images", "n_correct")
# Strict: true is no number and "8" is none either. NaN and infinity are in no result.
_ADAPTER = TypeAdapter(Record)
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "string_unicode": "text in Unicode",
    "string_pattern_mismatch": f"{ID_LENGTH} hexadecimal digits",
    "bool_type": "true or false",
    "dict_type": "an object",
    "list_type": "a list",
    "none_required": "null",
}


def as_kind(name: str) -> Kind:
    """The kind of failure of that name; a name that records do not know is a bug."""
    return next((kind for kind in KINDS if kind == name), "bug")


class NotARecordError(ValueError):
    """A text that is no record; the message names everything that is wrong with it."""


def parse_record(text: str | bytes) -> Record:
    """The record in a text of JSON: what every file and every import goes through.

    Raises:
        NotARecordError: It is not JSON, or not a record of this schema.
    """
    try:
        content = from_json(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text, allow_inf_nan=False)
    except ValueError as error:
        raise NotARecordError(f"not readable as JSON: {error}") from error
    problems = problems_of(content)
    if problems:
        raise NotARecordError("; ".join(problems))
    return cast(Record, content)


def problems_of(content: Any) -> list[str]:
    """What keeps a parsed JSON value from being a record, each with its path; empty for a valid one."""
    if not isinstance(content, dict):
        return [f"expected an object, found {type(content).__name__}"]
    if content.get("schema_version") != SCHEMA_VERSION:  # then nothing else can be said
        return [f"schema_version is {_shown(content.get('schema_version'))}, expected {SCHEMA_VERSION}"]
    problems = _missing(content)
    try:
        _ADAPTER.validate_python(content)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
        problems = [_worded(detail) for detail in details] + problems
    return list(dict.fromkeys(problems))


def _missing(content: dict[str, Any]) -> list[str]:
    """What a record of this status has to have besides."""
    if content.get("status") in NOT_DONE:
        return [] if "error" in content else ["error is missing"]
    if content.get("status") != "done":
        return []
    metrics = content.get("metrics")
    inside = METRICS_DONE if isinstance(metrics, dict) else ()
    return [
        *(f"{name} is missing" for name in REQUIRED_DONE if name not in content),
        *(f"metrics.{name} is missing" for name in inside if name not in cast(dict[str, Any], metrics)),
    ]


def _worded(detail: ErrorDetails) -> str:
    """One of pydantic's complaints in plain words."""
    kind, context = detail["type"], detail.get("ctx", {})
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).removeprefix(".")
    if kind == "missing":
        return f"{path} is missing"
    expected = _EXPECTED.get(kind)
    if kind == "literal_error":
        expected = f"one of {', '.join(get_args(Status if path == 'status' else Kind))}"
    elif kind in ("greater_than_equal", "less_than_equal"):
        expected = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
    return f"{path} is {_shown(detail['input'])}, expected {expected or detail['msg']}"


def _shown(value: Any) -> str:
    """A value on one short line; large ones by their type."""
    text = repr(value) if isinstance(value, (str, int, float, bool, type(None))) else f"of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
