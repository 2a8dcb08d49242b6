"""Records: what a trial was, what came out, what it cost. Plain JSON with a schema version."""

from __future__ import annotations

from typing import Any, TypedDict

SCHEMA_VERSION = 1
STATUSES = ("done", "failed", "skipped")
NOT_DONE = ("failed", "skipped")
KINDS = ("oom", "timeout", "preempted", "incompatible", "diverged", "killed", "bug", "usage", "data", "model")


class Stage(TypedDict):
    """Cost of one step.

    ``forward_passes`` counts passes of the whole calibration set through the whole network (parts of the network count
    by their share of multiply-accumulates); ``image_forwards`` is the same times the number of calibration images. For
    the stage ``evaluate`` one pass is the evaluation set once in one precision. All of them are what the stage costs
    alone; the ``shared_`` parts were not spent by this trial, because another one had done the work.
    """

    name: str
    seconds: float
    shared_seconds: float
    forward_passes: float
    image_forwards: float
    shared_image_forwards: float
    peak_memory_bytes: int
    notes: dict[str, Any]


class ErrorInfo(TypedDict):
    """Why a trial failed or was skipped."""

    kind: str
    message: str
    traceback: str


class Record(TypedDict, total=False):
    """The result of a trial, also when it failed or was skipped. Everything a table shows can be traced to one."""

    schema_version: int
    id: str
    status: str
    model: str
    data: dict[str, Any]
    bits: str
    stack: str
    calib: int
    calib_source: str
    seed: int
    asked: dict[str, Any]
    protocol: str
    metrics: dict[str, float | int | None]
    on_grid: bool
    off_grid_sites: list[str]
    coverage: list[dict[str, Any]]
    size_bytes: int
    size_bytes_fp32: int
    bit_operations: int
    bit_operations_fp32: int
    anchor: dict[str, Any]
    stages: list[Stage]
    seconds: float
    weights: dict[str, str]
    spec: dict[str, Any]
    command: str
    environment: dict[str, Any]
    created: str
    error: ErrorInfo
    imported: dict[str, str]


REQUIRED: dict[str, type | tuple[type, ...]] = {
    "schema_version": int,
    "id": str,
    "status": str,
    "model": str,
    "data": dict,
    "bits": str,
    "stack": str,
    "calib": int,
    "seed": int,
    "protocol": str,
    "stages": list,
    "spec": dict,
    "command": str,
    "environment": dict,
    "created": str,
}
REQUIRED_DONE: dict[str, type | tuple[type, ...]] = {
    "metrics": dict,
    "on_grid": bool,
    "coverage": list,
    "size_bytes": int,
    "bit_operations": int,
}


METRICS_DONE = ("top1", "top1_fp32", "agreement", "n_images", "n_correct")


def problems_of(record: Any) -> list[str]:
    """What keeps a parsed JSON value from being a record; empty for a valid one."""
    if not isinstance(record, dict):
        return [f"expected an object, found {type(record).__name__}"]
    if record.get("schema_version") != SCHEMA_VERSION:
        return [f"schema_version is {record.get('schema_version')!r}, expected {SCHEMA_VERSION}"]
    required = dict(REQUIRED)
    if record.get("status") == "done":
        required |= REQUIRED_DONE
    if record.get("status") in NOT_DONE:
        required["error"] = dict
    problems = [f"{name} is missing" for name in required if name not in record]
    problems += [
        f"{name} is {type(record[name]).__name__}"
        for name, kind in required.items()
        if name in record and not _is(record[name], kind)
    ]
    problems += _problems_inside(record) if not problems else []
    if record.get("status") not in STATUSES:
        problems.append(f"status is {record.get('status')!r}, expected one of {', '.join(STATUSES)}")
    return problems


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    """``isinstance`` that does not take true and false for numbers."""
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _problems_inside(record: dict[str, Any]) -> list[str]:
    """What is wrong one level down, where tables read: the data's name, stages, metrics, the error."""
    problems = [f"data.{name} is missing" for name in ("name", "fingerprint") if name not in record["data"]]
    for index, stage in enumerate(record["stages"]):
        if not (isinstance(stage, dict) and "name" in stage and _is(stage.get("seconds"), (int, float))):
            problems.append(f"stages[{index}] has no name or no seconds")
    if record.get("status") == "done":
        metrics = record["metrics"]
        problems += [f"metrics.{name} is no number" for name in METRICS_DONE if not _is(metrics.get(name), (int, float))]
    if record.get("status") in NOT_DONE:
        problems += [f"error.{name} is missing" for name in ("kind", "message") if name not in record["error"]]
    return problems
