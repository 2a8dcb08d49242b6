"""Markdown tables of records: one per model, data, bit-width and calibration size; rows are stacks."""

from __future__ import annotations

import json

import pandas as pd
from tabulate import tabulate

# Means over seeds are taken only where nothing but the seed differs: every other part of a trial's identity is a key.
GROUP = ["model", "data", "data_fingerprint", "weights_sha256", "preprocessing", "n_images", "bits", "calib"]
ROW = ["stack", "methods", "protocol"]
HEADERS = ("stack", "top-1 %", "to fp32", "agreement %", "SQNR dB", "s", "MB", "n", "on grid", "protocol")


def markdown(rows: pd.DataFrame) -> str:
    """All tables, then the failed and skipped trials with their reasons.

    Args:
        rows: One row per record, as ``harness.table.table`` makes it.
    """
    done = rows[rows["status"] == "done"].fillna({"weights_sha256": ""})
    parts = [_table(key, group) for key, group in done.groupby(GROUP, sort=True, dropna=False)]
    others = rows[rows["status"] != "done"]
    if len(others):
        parts.append(_not_done(others))
    return "\n\n".join(parts)


def _table(key: tuple[object, ...], group: pd.DataFrame) -> str:
    preprocessing, count = str(key[4]), key[5]
    model, data, weights, bits, calib = (escaped(str(key[index])) for index in (0, 1, 3, 6, 7))
    full = group["top1_fp32"].mean()
    parts = [part for _, part in group.groupby(ROW, sort=False)]
    stacks = [_stack_row(part) for part in sorted(parts, key=lambda part: -float(part["top1"].mean()))]
    about = f"{data}, {_images(count)} evaluation images, {_crop(preprocessing)}full precision {full:.2f} %"
    about += f", weights {weights[:8]}" if weights else ""
    title = f"### {model}, {bits}, {calib} calibration images\n\n{about}"
    return f"{title}\n\n{tabulate(stacks, headers=HEADERS, tablefmt='pipe', disable_numparse=True)}"


def _images(count: object) -> str:
    return "?" if pd.isna(count) else f"{int(float(str(count)))}"  # type: ignore[call-overload]


def _crop(preprocessing: str) -> str:
    """Where preprocessing differs between tables of one model, it is nearly always here."""
    values = json.loads(preprocessing)
    return (
        escaped(f"crop {values['crop_pct']} {values.get('interpolation', '')}".rstrip() + ", ")
        if "crop_pct" in values
        else ""
    )


def _stack_row(part: pd.DataFrame) -> list[str]:
    return [
        f"`{escaped(str(part['stack'].iloc[0]))}`",
        spread(part["top1"]),
        f"{(part['top1'] - part['top1_fp32']).mean():+.2f}",
        spread(part["agreement"]),
        spread(part["logit_sqnr_db"], 1),
        f"{part['seconds_stack'].mean():.1f}",
        f"{part['size_bytes'].mean() / 1e6:.2f}",
        str(len(part)),
        "yes" if part["on_grid"].all() else "no",
        escaped(str(part["protocol"].iloc[0])) + (" (saw evaluation images)" if (part["protocol"] == "paper").any() else ""),
    ]


def spread(values: pd.Series, digits: int = 2) -> str:
    """Mean, with the sample standard deviation when there is more than one value."""
    numbers = [float(value) for value in values.dropna()]
    if not numbers:
        return "exact"
    series = pd.Series(numbers)
    deviation = f" ± {series.std():.{digits}f}" if len(numbers) > 1 else ""
    return f"{series.mean():.{digits}f}{deviation}"


def _not_done(rows: pd.DataFrame) -> str:
    columns = ("id", "status", "model", "bits", "stack", "seed")
    lines = [
        [*(escaped("-" if pd.isna(row[name]) else str(row[name])) for name in columns), escaped(_reason(row))]
        for _, row in rows.iterrows()
    ]
    return "### Not done\n\n" + tabulate(lines, headers=(*columns, "reason"), tablefmt="pipe", disable_numparse=True)


def _reason(row: pd.Series) -> str:
    return "-" if pd.isna(row["error_kind"]) else f"{row['error_kind']}: {row['error_message']}"


def escaped(text: str) -> str:
    """Text that cannot break out of a Markdown table cell."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("`", "'").replace("<", "&lt;").replace("\n", " ")
