"""Records: what a trial was, what came out, what it cost. Plain JSON with a schema version.

The types below are checked (``harness/trial/record_check.py``) wherever a record comes in from a file; inside the program
records are plain dictionaries. Keys that are not named here are allowed and survive: a later version may add some.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, get_args

from annotated_types import Ge, Le, Predicate
from typing_extensions import TypedDict  # typing's own cannot be checked before Python 3.12

from harness.trial.fields import LARGEST_INTEGER
from harness.trial.identity import is_id
from harness.trial.spec import CLASSIFICATION, FEATURES

SCHEMA_VERSION = 1
Status = Literal["done", "failed", "skipped"]
NOT_DONE: tuple[Status, ...] = ("failed", "skipped")
Kind = Literal[
    "oom", "timeout", "killed", "preempted", "cancelled", "node_fail", "incompatible", "diverged", "bug", "usage", "data",
    "model", "disk",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
# These happened to the job and say nothing of the trial: it is run again without being asked for.
INTERRUPTIONS: tuple[Kind, ...] = ("preempted", "cancelled", "node_fail")

BUSY = 1.1  # load per core above which times say more of the other processes than of what was measured

Whole = Annotated[int, Ge(-LARGEST_INTEGER), Le(LARGEST_INTEGER)]
Count = Annotated[int, Ge(0), Le(LARGEST_INTEGER)]
Percent = Annotated[float, Ge(0), Le(100)]
Seconds = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0)]
Cosine = Annotated[float, Ge(-1), Le(1)]
Id = Annotated[str, Predicate(is_id)]


class Stage(TypedDict):
    """Cost of one step.

    ``forward_passes`` counts passes of the whole calibration set through the whole network (parts of the network count
    by their share of multiply-accumulates); ``image_forwards`` is the same times the number of calibration images. For
    the stage ``evaluate`` one pass is the evaluation set once in one precision. All of them are what the stage costs
    alone; the ``shared_`` parts were not spent by this trial, because another one had done the work.
    """

    name: str
    seconds: Seconds
    shared_seconds: NotRequired[Seconds]
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
    """Percentages and counts over the evaluation images; the ratio of signal to error is None where there is no error.

    A trial of ``--task features`` has ``n_images`` and what begins with ``feature_``: the mean and the smallest cosine
    similarity of quantized and full-precision output vectors, the ratio in decibel and the squared error per image. All
    others have the rest.
    ``nll`` is the mean negative log-likelihood of the labels in nats, ``ece`` the expected calibration error over 15 bins of
    equal width in points. Records of earlier versions have neither.
    """

    top1: Percent
    top5: Percent
    top1_fp32: Percent
    top5_fp32: Percent
    agreement: Percent
    logit_sqnr_db: float | None
    logit_mse: float | None
    nll: float
    nll_fp32: float
    ece: Percent
    ece_fp32: Percent
    n_images: Annotated[int, Ge(1), Le(LARGEST_INTEGER)]
    n_correct: Count
    n_correct_top5: Count
    n_correct_fp32: Count
    n_correct_top5_fp32: Count
    n_agree: Count
    feature_cosine: Cosine
    feature_cosine_min: Cosine
    feature_sqnr_db: float | None
    feature_mse: Annotated[float, Ge(0)]


class ClassCounts(TypedDict):
    """Evaluation images by class, for classes that have any: lists of one length.

    ``lost`` are right in full precision only, ``gained`` are right quantized only. With them goes the interval of a paired
    difference for each class.
    """

    index: list[Count]
    images: list[Count]
    right_fp32: list[Count]
    lost: list[Count]
    gained: list[Count]


class CorruptionRow(TypedDict):
    """One corruption of the evaluation images (``--corrupt``); ``lost`` and ``gained`` as for classes."""

    corruption: str
    severity: Annotated[int, Ge(1), Le(5)]
    library: str
    top1: Percent
    top1_fp32: Percent
    agreement: Percent
    lost: Count
    gained: Count


class CoverageRow(TypedDict):
    """One tensor class: how many of its sites are quantized and how."""

    tensors: str
    quantized: Count
    total: Count
    bits: list[Whole]
    granularity: list[str]


class GridRow(TypedDict):
    """How integer arithmetic computes with the quantized tensors of one class."""

    tensors: str
    grid: str
    reason: str
    sites: Count


class FloatRow(TypedDict):
    """One kind of operation that runs, or is stored, in floating point."""

    operation: str
    count: Count


class ArithmeticRow(TypedDict):
    """Products of one kind that run on integer codes, or in floating point for one reason."""

    products: str
    arithmetic: Literal["integer", "float"]
    reason: str
    count: Count
    macs: Count


class NoiseFloor(TypedDict):
    """The finished network against itself with the other arithmetic; the ratio is None where all logits are equal.

    Feature vectors have no predictions to agree in.
    """

    against: Literal["integer", "float"]
    agreement: NotRequired[Percent]
    logit_sqnr_db: float | None


class ExpectedDrop(TypedDict):
    """Points of top-1 that full precision's own probabilities expect to be lost, with an interval of 95 %; no labels."""

    value: Percent
    low: Percent
    high: float


class Data(TypedDict):
    """The images: a name, a hash over what they are, and how they become the network's input.

    ``overlap`` is the number of calibration images that are evaluation images too; it is there where that was allowed.
    ``labels`` says how class folders became labels where it was not by the ids of ImageNet-1k.
    """

    name: str
    fingerprint: str
    split: NotRequired[str]
    eval_limit: NotRequired[Whole | None]
    preprocessing: NotRequired[dict[str, Any]]
    overlap: NotRequired[Count]
    labels: NotRequired[str]


class RecordedStep(TypedDict):
    """One step of the stack with all its settings."""

    name: str
    version: Whole
    config: dict[str, Any]


class Identity(TypedDict, total=False):
    """What the id is the hash of; empty for a trial that never ran."""

    model: str
    weights_sha256: str
    data_fingerprint: str
    calibration_fingerprint: str
    labels_sha256: str
    preprocessing: dict[str, Any]
    blocks: str
    eval_limit: Whole | None
    stack: list[RecordedStep]
    bits: str
    calib: Count
    seed: Count
    arithmetic: str
    task: str
    float_layernorm: bool


class MachineLoad(TypedDict):
    """How busy the machine was, see ``harness.machine.measure.load_per_core``; None where the system does not say."""

    start: Share | None
    end: Share | None


class Environment(TypedDict, total=False):
    """The machine and the versions; not part of the identity."""

    device: str
    cpu: str | None
    threads: Count | None
    commit: str | None
    versions: dict[str, str | None]
    evaluation_batch: Count
    load: MachineLoad | None


class RecordedAnchor(TypedDict, total=False):
    """The published full-precision accuracy of the network, and how far ours is from it."""

    top1: float
    images: Count
    source: str
    difference: float | None


class Results(TypedDict, total=False):
    """What only a trial that was evaluated has."""

    metrics: Metrics
    classes: ClassCounts
    corruptions: list[CorruptionRow]
    on_grid: bool
    off_grid_sites: list[str]
    grid: list[GridRow]
    floating_point: list[FloatRow]
    integer_only: bool
    altered: list[str]
    arithmetic: list[ArithmeticRow]
    integer_share: Percent
    noise_floor: NoiseFloor
    expected_drop: ExpectedDrop
    coverage: list[CoverageRow]
    bit_map: str
    size_bytes: Count
    size_bytes_fp32: Count
    bit_operations: Count
    bit_operations_fp32: Count
    anchor: RecordedAnchor
    files: dict[str, str]


class Record(Results):
    """The result of a trial, also when it failed or was skipped. Everything a table shows can be traced to one.

    ``altered_from`` is the trial of the same stack whose network was altered after it (``--float-layernorm``).
    """

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
    seconds: NotRequired[Seconds]
    weights: NotRequired[dict[str, str]]
    spec: Identity
    command: str
    environment: Environment
    created: str
    error: NotRequired[ErrorInfo]
    altered_from: NotRequired[Id]
    imported: NotRequired[dict[str, str]]
    migrated: NotRequired[dict[str, str]]


def task_of(record: Record) -> str:
    """What a trial measured."""
    return record["spec"].get("task", CLASSIFICATION)


def headline(record: Record) -> str:
    """The one number of a finished trial, for lines of progress."""
    metrics = record["metrics"]
    if task_of(record) == FEATURES:
        return f"cosine {metrics['feature_cosine']:.5f}"
    return f"top-1 {metrics['top1']:.2f} %"


def as_kind(name: str) -> Kind:
    """The kind of failure of that name; a name that records do not know is a bug."""
    return next((kind for kind in KINDS if kind == name), "bug")
