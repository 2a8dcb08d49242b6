"""Records as a pandas frame with one row per record and flat column names."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from harness.record import Record

COLUMNS = (
    "id",
    "status",
    "model",
    "data",
    "data_fingerprint",
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
    """One row per record; ``seconds`` is the time of all stages but the evaluation."""
    return pd.DataFrame([_row(record) for record in records], columns=list(COLUMNS))


def _row(record: Record) -> dict[str, object]:
    metrics = record.get("metrics", {})
    error = record.get("error")
    return {
        **{name: record.get(name) for name in ("id", "status", "model", "bits", "stack", "calib", "seed", "protocol")},
        **{name: metrics.get(name) for name in METRICS},
        "data": record["data"]["name"],
        "data_fingerprint": record["data"]["fingerprint"],
        "on_grid": record.get("on_grid"),
        "size_bytes": record.get("size_bytes"),
        "seconds": sum(stage["seconds"] for stage in record["stages"] if stage["name"] != "evaluate"),
        "error": f"{error['kind']}: {error['message']}" if error else None,
    }
