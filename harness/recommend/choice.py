"""From what candidates showed to one recipe: the smallest that loses little enough, or the best that is small enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harness.recommend.halving import Outcome
from harness.recommend.limits import Limits, seconds_of

ALIKE = 1.02  # times as many bytes: a few bytes of scales are no reason to prefer a worse recipe
Prefer = Literal["size", "accuracy"]


def preferred(limits: Limits) -> Prefer:
    """What is left to be wished for: who bounds the loss alone wants a small network, everyone else an accurate one."""
    return "size" if limits.drop is not None and limits.size is None else "accuracy"


def chosen(outcomes: Sequence[Outcome], limits: Limits, prefer: Prefer) -> Outcome | None:
    """The recommended candidate among those that reached the end; None where none keeps to the limits."""
    fit = [one for one in finalists(outcomes) if one.record is not None and not limits.broken(one.record)]
    if not fit:
        return None
    if prefer == "size":
        smallest = min(size_of(one) for one in fit)
        fit = [one for one in fit if size_of(one) <= ALIKE * smallest]
    return max(fit, key=lambda one: one.merit)


def nearest_miss(outcomes: Sequence[Outcome], limits: Limits) -> Outcome | None:
    """For whoever must relax a limit: the most accurate at the end, else the smallest or quickest that went out."""
    if ends := finalists(outcomes):
        return max(ends, key=lambda one: one.merit)
    out = [one for one in outcomes if one.done is not None and limits.never(one.done)]
    return min(out, key=size_of if limits.size is not None else time_of, default=None)


def finalists(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those that were run with all calibration images and are in."""
    return [one for one in outcomes if not one.reason and one.done is not None]


def front(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The finalists that no smaller one beats in signal over error, smallest first."""
    ordered = sorted(finalists(outcomes), key=lambda one: (size_of(one), -one.merit))
    best: list[Outcome] = []
    for one in ordered:
        if not best or one.merit > best[-1].merit:
            best.append(one)
    return best


def size_of(outcome: Outcome) -> int:
    """Bytes of the quantized network."""
    assert outcome.record is not None
    return outcome.record["size_bytes"]


def time_of(outcome: Outcome) -> float:
    """Seconds that quantizing took."""
    assert outcome.record is not None
    return seconds_of(outcome.record)
