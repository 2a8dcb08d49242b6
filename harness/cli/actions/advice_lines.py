"""An answer of ``harness recommend`` as people read it; all of it comes from the facts that ``--json`` prints."""

from __future__ import annotations

import math
from typing import Any

MISSING = "-"


def table_rows(facts: dict[str, Any]) -> list[dict[str, str]]:
    """What was tried, the best of each width first."""
    tried = sorted(facts["tried"], key=lambda one: (one["bits"], one["reason"] != "", -_ratio(one)))
    return [_row(one, facts) for one in tried]


def _ratio(one: dict[str, Any]) -> float:
    """Signal over error in dB; without an error it has no number."""
    if one["sqnr_db"] is not None:
        return float(one["sqnr_db"])
    return -math.inf if one["size_bytes"] is None else math.inf


def _row(one: dict[str, Any], facts: dict[str, Any]) -> dict[str, str]:
    drop = one["expected_drop"]
    return {
        "": "*" if one == facts["recommended"] else "f" if one in facts["front"] else "",
        "recipe": one["stack"],
        "bits": one["bits"],
        "images": str(one["calib"]),
        "MB": _number(one["size_bytes"], 1e6, 3),
        "s": _number(one["seconds"], 1, 1),
        "SQNR dB": _number(one["sqnr_db"], 1, 1),
        "agree %": _number(one["agreement"], 1, 1),
        "drop": MISSING if drop is None else f"{drop['value']:.2f} ({drop['low']:.2f} to {drop['high']:.2f})",
        "out because": one["reason"] or "; ".join(one["broken"]),
    }


def _number(value: float | None, unit: float, digits: int) -> str:
    return MISSING if value is None else f"{value / unit:.{digits}f}"


def lines(facts: dict[str, Any]) -> list[str]:
    """The answer in words."""
    found = [
        "",
        f"tried        {len(facts['tried'])} recipes with {facts['image_forwards']:,.0f} image forwards; {_judges(facts)}",
    ]
    found.append(
        "             *: recommended; f: no smaller one is nearer to full precision; drop: expected by full precision"
    )
    best = facts["recommended"]
    if best is None:
        return [*found, *_none(facts)]
    found.append(f"recommended  {best['stack']}  {best['bits']}, {_sure(best, facts)}")
    found += _evaluated(facts)
    return [*found, f"command      {best['command']}", *[f"file         {path}" for path in facts.get("files", [])]]


def _judges(facts: dict[str, Any]) -> str:
    return f"judged on {facts['judges']} held-out calibration images, without labels"


def _none(facts: dict[str, Any]) -> list[str]:
    near = facts["nearest"]
    if near is None:
        return ["recommended  none: no recipe reached the end, see the reasons above"]
    broken = "; ".join(near["broken"]) or near["reason"]
    return [f"recommended  none keeps to the limits; the nearest, {near['stack']} {near['bits']}: {broken}"]


def _sure(best: dict[str, Any], facts: dict[str, Any]) -> str:
    """How sure it is that the limit on the drop is kept."""
    drop, limit = best["expected_drop"], facts["limits"]["drop"]
    text = f"expected to lose {drop['value']:.2f} points (95 %: {drop['low']:.2f} to {drop['high']:.2f})"
    if limit is None:
        return text
    return text + (f": surely within {limit:g}" if drop["high"] <= limit else f": within {limit:g}, but not surely")


def _evaluated(facts: dict[str, Any]) -> list[str]:
    """What the evaluation images say."""
    return [f"evaluated    {one['stack']}  {one['bits']}: {_outcome(one)}" for one in facts["evaluated"]]


def _outcome(one: dict[str, Any]) -> str:
    if one["status"] != "done":
        return f"{one['status']}, {one['reason']}"
    lost = one["difference"]
    interval = f"{lost['value']:+.2f}, 95 %: {lost['low']:+.2f} to {lost['high']:+.2f}"
    return f"top-1 {one['top1']:.2f} of {one['top1_fp32']:.2f} on {one['n_images']:,} images ({interval})"
