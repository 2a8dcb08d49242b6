"""Records as flat rows with fixed column names: the form of exports, read by spreadsheets and other programs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any, get_args

import numpy as np
import pandas as pd

from harness.store.class_damage import class_damage
from harness.store.record_words import altered_of, coverage_of, device_of
from harness.trial.fields import fields_of
from harness.trial.identity import is_id
from harness.trial.migration import identity_version
from harness.trial.record import ClassCounts, CorruptionRow, Environment, Record, Status, task_of
from harness.trial.spec import CLASSIFICATION, DATA, FEATURES, TrialSpec, repeating

# Name and pandas type of each column, in order. Columns are added at the end, never renamed or removed.
COLUMNS: dict[str, str] = {
    "id": "string",
    "status": "string",
    "model": "string",
    "bits": "string",
    "stack": "string",
    "calib": "Int64",
    "seed": "Int64",
    "top1": "Float64",
    "top1_fp32": "Float64",
    "top5": "Float64",
    "top5_fp32": "Float64",
    "agreement": "Float64",
    "logit_sqnr_db": "Float64",
    "logit_mse": "Float64",
    "n_images": "Int64",
    "n_correct": "Int64",
    "n_correct_fp32": "Int64",
    "n_agree": "Int64",
    "protocol": "string",
    "on_grid": "boolean",
    "size_bytes": "Int64",
    "size_bytes_fp32": "Int64",
    "bit_operations": "Int64",
    "bit_operations_fp32": "Int64",
    "seconds_stack": "Float64",
    "seconds_evaluate": "Float64",
    "seconds_shared": "Float64",
    "seconds_wall": "Float64",
    "forward_passes": "Float64",
    "peak_memory_bytes": "Int64",
    "data": "string",
    "data_fingerprint": "string",
    "eval_limit": "Int64",
    "preprocessing": "string",
    "weights_sha256": "string",
    "methods": "string",
    "error_kind": "string",
    "error_message": "string",
    "device": "string",
    "commit": "string",
    "torch": "string",
    "timm": "string",
    "created": "string",
    "command": "string",
    "coverage": "string",
    "stages": "string",
    "calib_source": "string",
    "origin": "string",
    "overlap": "Int64",
    "identity": "string",
    "identity_version": "Int64",
    "load": "Float64",
    "integer_share": "Float64",
    "noise_agreement": "Float64",
    "noise_sqnr_db": "Float64",
}
# Parts of an identity that differ between trials of one group: the seed, and the images that it draws.
OF_SEED = ("seed", "calibration_fingerprint")
CONFIDENCE = ("nll", "nll_fp32", "ece", "ece_fp32")
COLUMNS |= {
    **dict.fromkeys(CONFIDENCE, "Float64"),
    "worst_class": "Int64",
    **dict.fromkeys(("worst_class_change", "worst_class_low", "worst_class_high"), "Float64"),
    "classes_harmed": "Int64",
    **dict.fromkeys(("lowest_class_top1", "lowest_class_top1_fp32"), "Float64"),
    "corrupt": "string",
    **dict.fromkeys(("corrupted_top1", "corrupted_top1_fp32"), "Float64"),
    "task": "string",
    **dict.fromkeys(("feature_cosine", "feature_sqnr_db", "feature_mse"), "Float64"),
}
# A field of a trial that is declared with a column of its own stands behind them without a line here.
COLUMNS |= {one.name: one.about.column for one in fields_of(TrialSpec) if one.about.column}
COLUMNS["altered"] = "string"
CHUNK = 2000
METRICS = tuple(name for name in COLUMNS if name.startswith(("top", "n_", "logit_", "agreement", "feature_")))
SAME = ("id", "status", "model", "bits", "stack", "calib", "seed", "protocol", "on_grid", "created", "command")
NEVER_MISSING = [
    "model",
    "bits",
    "stack",
    "calib",
    "seed",
    "protocol",
    "data",
    "data_fingerprint",
    "methods",
    "preprocessing",
    "identity",
    "task",
]
RESULTS = ["n_images", "on_grid", "size_bytes", "bit_operations"]
OF_TASK = {
    CLASSIFICATION: ["top1", "top1_fp32", "agreement", "n_correct"],
    FEATURES: ["feature_cosine", "feature_mse"],
}
AS_JSON = ("methods", "preprocessing", "stages", "identity")
SIZES = ("size_bytes", "size_bytes_fp32", "bit_operations", "bit_operations_fp32")


def row(record: Record) -> dict[str, Any]:
    """One record as one flat row; what a record does not have is None."""
    stages, spec, machine = record["stages"], record["spec"], record["environment"]
    metrics, error = record.get("metrics", {}), record.get("error")
    stack, floor = [stage for stage in stages if stage["name"] != "evaluate"], record.get("noise_floor")
    values: dict[str, Any] = {name: record.get(name) for name in (*SAME, *SIZES)}
    values |= {name: metrics.get(name) for name in METRICS}
    values |= {
        "command": repeating(record["command"]),
        "seconds_stack": _total(stack, "seconds"),
        "seconds_evaluate": _total([stage for stage in stages if stage["name"] == "evaluate"], "seconds"),
        "seconds_shared": _total(stages, "shared_seconds"),
        "seconds_wall": record.get("seconds"),
        "forward_passes": _total(stack, "forward_passes"),
        "peak_memory_bytes": max((int(stage.get("peak_memory_bytes", 0)) for stage in stages), default=None),
        "data": record["data"]["name"],
        "data_fingerprint": record["data"]["fingerprint"],
        "eval_limit": record["data"].get("eval_limit"),
        "overlap": record["data"].get("overlap", 0),
        "preprocessing": json.dumps(spec.get("preprocessing", {}), sort_keys=True),
        "weights_sha256": spec.get("weights_sha256"),
        "methods": json.dumps(spec.get("stack", []), sort_keys=True),
        "error_kind": error["kind"] if error else None,
        "error_message": error["message"] if error else None,
        "device": device_of(machine),
        "commit": machine.get("commit"),
        "torch": machine.get("versions", {}).get("torch"),
        "timm": machine.get("versions", {}).get("timm"),
        "stages": json.dumps([[stage["name"], stage["seconds"]] for stage in stages]),
        "coverage": coverage_of(record.get("coverage", [])),
        "calib_source": record.get("calib_source", DATA),
        "origin": origin_of(record),
        "identity": json.dumps({name: value for name, value in spec.items() if name not in OF_SEED}, sort_keys=True),
        "identity_version": _identity_version(record),
        "load": _load(machine),
        "integer_share": record.get("integer_share"),
        "noise_agreement": floor.get("agreement") if floor else None,
        "noise_sqnr_db": floor["logit_sqnr_db"] if floor else None,
        "task": task_of(record),
        "altered": altered_of(record),
    }
    values |= _beyond_top1(record) | _declared(record)
    return {name: values[name] for name in COLUMNS}


def _declared(record: Record) -> dict[str, Any]:
    """The fields of a trial that are declared with a column of their own."""
    asked, declared = record.get("asked", {}), fields_of(TrialSpec)
    return {one.name: asked.get(one.name, one.about.earlier or one.default) for one in declared if one.about.column}


def _beyond_top1(record: Record) -> dict[str, Any]:
    """Confidence, classes and corrupted images; records of earlier versions have none."""
    metrics = record.get("metrics", {})
    return {
        **{name: metrics.get(name) for name in CONFIDENCE},
        **_of_classes(record.get("classes")),
        **_of_corruptions(record.get("corruptions", [])),
    }


def _of_classes(counts: ClassCounts | None) -> dict[str, Any]:
    """The class that lost most, how many lost for certain, and the lowest accuracy of any."""
    names: tuple[str, ...] = ("worst_class", "worst_class_change", "worst_class_low", "worst_class_high", "classes_harmed")
    names += ("lowest_class_top1", "lowest_class_top1_fp32")
    if counts is None:
        return dict.fromkeys(names)
    found = class_damage(counts)
    worst = found.worst
    values = (int(found.index[worst]), *(float(one[worst]) for one in (found.change, found.low, found.high)), found.harmed)
    return dict(zip(names, (*values, float(found.top1.min()), float(found.top1_fp32.min())), strict=True))


def _of_corruptions(rows: list[CorruptionRow]) -> dict[str, Any]:
    """Which there were, and mean accuracies over them."""
    if not rows:
        return dict.fromkeys(("corrupt", "corrupted_top1", "corrupted_top1_fp32"))
    return {
        "corrupt": ",".join(f"{one['corruption']}:{one['severity']}" for one in rows),
        "corrupted_top1": float(np.mean([one["top1"] for one in rows])),
        "corrupted_top1_fp32": float(np.mean([one["top1_fp32"] for one in rows])),
    }


def origin_of(record: Record) -> str | None:
    """Who an imported record comes from, in which file and when; None for one that this store measured."""
    mark = record.get("imported")
    if mark is None:
        return None
    about = ", ".join(mark[name] for name in ("file", "at") if name in mark)
    before = f", before from {mark['before']}" if "before" in mark else ""
    return mark.get("from", "elsewhere") + (f" ({about}{before})" if about or before else "")


def table(records: Iterable[Record]) -> pd.DataFrame:
    """One typed row per record; missing values stay missing, whole numbers stay whole.

    Records are read in chunks and let go, so that memory holds rows, not records.
    """
    rows = map(row, records)
    chunks = [_typed([])]
    while chunk := list(itertools.islice(rows, CHUNK)):
        chunks.append(_typed(chunk))
    return pd.concat(chunks, ignore_index=True)


def unfit(rows: pd.DataFrame) -> str:
    """What is in a table that no record has, in one line; empty for nothing. Tables come back from files, too.

    Args:
        rows: The columns of ``COLUMNS``.
    """
    expected = _typed([]).dtypes
    wrong = next((name for name in COLUMNS if rows[name].dtype != expected[name]), None)
    if wrong is not None:
        return f"its column {wrong} is of type {rows[wrong].dtype}, expected {expected[wrong]}"
    if rows["id"].isna().any() or rows["id"].duplicated().any() or not all(map(is_id, rows["id"])):
        return "its ids are no ids, or not distinct"
    if not rows["status"].isin(get_args(Status)).all() or rows[NEVER_MISSING].isna().to_numpy().any():
        return "it has rows without what every record has"
    if any(found.isna().to_numpy().any() for found in _results(rows)):
        return "it has done trials without results"
    numbers = rows[[name for name, kind in COLUMNS.items() if kind == "Float64"]].to_numpy(float, na_value=0.0)
    if not np.isfinite(numbers).all() or (rows["n_images"] < 1).any():
        return "it has numbers that no record has"
    return next((f"its column {name} is no JSON" for name in AS_JSON if not _all_json(rows[name])), "")


def _results(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """What must be there of the done trials of each task."""
    done = rows[rows["status"] == "done"]
    features = done["task"] == FEATURES
    return [done.loc[features, RESULTS + OF_TASK[FEATURES]], done.loc[~features, RESULTS + OF_TASK[CLASSIFICATION]]]


def _all_json(column: pd.Series) -> bool:
    try:
        return all(isinstance(json.loads(text), dict | list) for text in column.dropna().unique())
    except (ValueError, RecursionError):
        return False


def _typed(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.array([r[name] for r in rows], dtype=kind) for name, kind in COLUMNS.items()})  # type: ignore[call-overload]


def _total(stages: Iterable[Any], name: str) -> float | None:
    values = [float(stage[name]) for stage in stages if name in stage]
    return sum(values) if values else None


def _identity_version(record: Record) -> int | None:
    """The version of the identity that gives the record its id; None when none does."""
    try:
        return identity_version(record["spec"], record["id"])
    except ValueError:  # a setting that is no number: nothing has an id then
        return None


def _load(machine: Environment) -> float | None:
    """The larger load per core of the machine, at the start and at the end, where the record says one."""
    found = machine.get("load") or {"start": None, "end": None}
    return max((float(one) for one in (found["start"], found["end"]) if one is not None), default=None)
