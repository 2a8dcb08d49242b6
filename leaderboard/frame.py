"""Records as a pandas frame with one row per record and flat column names."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pandas as pd

from harness.record import Record

COLUMNS = (
    "id",
    "status",
    "model",
    "data",
    "data_fingerprint",
    "weights",
    "preprocessing",
    "methods",
    "bits",
    "stack",
    "calib",
    "seed",
    "protocol",
    "on_grid",
    "top1",
    "top1_fp32",
    "agreement",
    "logit_sqnr_db",
    "n_images",
    "seconds",
    "size_bytes",
    "error",
)
METRICS = ("top1", "top1_fp32", "agreement", "logit_sqnr_db", "n_images")


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row per record.

    ``seconds`` is the time of all stages but the evaluation; ``weights``, ``preprocessing`` and ``methods`` (names,
    versions, all settings) are identities as text, to tell apart what must not be averaged.
    """
    return pd.DataFrame([_row(record) for record in records], columns=list(COLUMNS))


def _row(record: Record) -> dict[str, object]:
    metrics = record.get("metrics", {})
    error, spec = record.get("error"), record["spec"]
    return {
        **{name: record.get(name) for name in ("id", "status", "model", "bits", "stack", "calib", "seed", "protocol")},
        **{name: metrics.get(name) for name in METRICS},
        "data": record["data"]["name"],
        "data_fingerprint": record["data"]["fingerprint"],
        "weights": str(spec.get("weights_sha256", "")),
        "preprocessing": json.dumps(spec.get("preprocessing", {}), sort_keys=True),
        "methods": json.dumps(spec.get("stack", []), sort_keys=True),
        "on_grid": record.get("on_grid"),
        "size_bytes": record.get("size_bytes"),
        "seconds": sum(stage["seconds"] for stage in record["stages"] if stage["name"] != "evaluate"),
        "error": f"{error['kind']}: {error['message']}" if error else None,
    }
