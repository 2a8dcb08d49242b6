"""Lines of a record's summary: what integers can compute, what a search would have cost, and warnings of methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.trial.record import Record
from harness.trial.spec import INTEGER


def loops(notes: Mapping[str, Any]) -> str:
    """What a search costs whose every evaluation runs the whole network: copies scored again, or once as released."""
    if "naive_forward_passes" not in notes:
        return ""
    released = f", released code's: {notes['release_forward_passes']}" if "release_forward_passes" in notes else ""
    return f"paper's loop: {notes['naive_forward_passes']}{released}"


def fewer_images(notes: Mapping[str, Any]) -> str:
    """How many images a method used, where its authors used more."""
    used, wanted = notes.get("images_used", 0), notes.get("images_wanted", 0)
    return f"{used} images, published: {wanted}" if used < wanted else ""


def grid_lines(record: Record) -> list[str]:
    """Which tensors integers can compute with, why others need folding, and whether integers compute the whole network."""
    if "grid" not in record:  # written by an earlier version
        answer = "yes" if record["on_grid"] else f"no ({len(record.get('off_grid_sites', []))} tensors leave it)"
        return [f"grid     all tensors on the integer grid: {answer}"]
    counts: dict[str, int] = {}
    reasons: dict[str, list[str]] = {}
    for row in record["grid"]:
        counts[row["grid"]] = counts.get(row["grid"], 0) + row["sites"]
        if row["reason"]:
            reasons.setdefault(row["reason"], []).append(row["tensors"])
    lines = [f"grid     {', '.join(f'{grid}: {count} tensors' for grid, count in counts.items()) or 'nothing quantized'}"]
    lines += [f"         {', '.join(dict.fromkeys(tensors))}: {reason}" for reason, tensors in reasons.items()]
    rest = ", ".join(f"{row['count']} {row['operation']}" for row in record.get("floating_point", []))
    answer = "yes" if record.get("integer_only") else "no"
    return [*lines, f"integer  only: {answer}{f'; in floating point: {rest}' if rest else ''}"]


def altered_line(record: Record) -> list[str]:
    """What makes the network another one than that of its checkpoint or stack; empty where nothing does."""
    changes = record.get("altered", [])
    other = f"the network of trial {record['altered_from']}" if "altered_from" in record else "the checkpoint's network"
    return [f"altered  {', '.join(changes)}: not {other}"] if changes else []


def arithmetic_line(record: Record) -> list[str]:
    """Which products ran on integer codes, and why others did not; empty for records of earlier versions."""
    rows, share = record.get("arithmetic", []), record.get("integer_share")
    if not rows or share is None:
        return []
    counts = [f"{row['count']} {row['products']}" for row in rows if row["arithmetic"] == INTEGER]
    others = [f"{row['count']} {row['products']} ({row['reason']})" for row in rows if row["arithmetic"] != INTEGER]
    if len({row["reason"] for row in rows}) == 1 and others:  # float arithmetic, or nothing quantized
        others = [f"all products ({rows[0]['reason']})"]
    parts = [f"integers: {', '.join(counts)}"] if counts else []
    parts += [f"floating point: {', '.join(others)}"] if others else []
    return [f"products {'; '.join(parts)}; {share:.1f} % of multiply-accumulates on integers"]


def warnings(record: Record) -> list[str]:
    """What methods warn of."""
    found = [(stage["name"], stage.get("notes", {}).get("warning")) for stage in record["stages"]]
    return [f"warning  {name}: {text}" for name, text in found if text]
