"""Successive halving: all candidates with few calibration images, the better half with more, and so on.

Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, AISTATS 2016. Widths compete
only among themselves: a narrow recipe that loses to a wide one may still be what a small device needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.recommend.limits import Limits
from harness.recommend.portfolio import Candidate
from harness.trial.record import Record

FIRST = 16  # calibration images of the first round
GROWTH = 4  # times as many in the next
EXACT_DB = 200.0  # stands for an error of zero


@dataclass(frozen=True)
class Outcome:
    """What came of a candidate in its last round.

    Attributes:
        candidate: The recipe.
        calib: Calibration images of that round.
        record: The trial's; None where it could not begin.
        reason: Why it went no further; empty for one that reached the end.
    """

    candidate: Candidate
    calib: int
    record: Record | None
    reason: str = ""

    @property
    def done(self) -> Record | None:
        """The trial's record where it was done."""
        return self.record if self.record is not None and self.record["status"] == "done" else None

    @property
    def merit(self) -> float:
        """Signal over error of held-out logits in dB; larger is better."""
        if self.done is None:
            return -math.inf
        ratio = self.done["metrics"]["logit_sqnr_db"]
        return EXACT_DB if ratio is None else ratio


Run = Callable[[Candidate, int], Outcome]
Refused = Callable[[Record], str]


def rounds(calib: int) -> list[int]:
    """Calibration images of each round; the last has all of them."""
    sizes = []
    size = FIRST
    while size < calib:
        sizes.append(size)
        size *= GROWTH
    return [*sizes, calib]


def halve(candidates: Sequence[Candidate], calib: int, run: Run, limits: Limits, refused: Refused) -> list[Outcome]:
    """Let candidates compete.

    Args:
        candidates: The portfolio.
        calib: Calibration images of the last round.
        run: One candidate with some calibration images.
        limits: What breaks them for good goes out at once.
        refused: Why a finished trial cannot be exported; empty where it can.

    Returns:
        The last outcome of every candidate, in the portfolio's order.
    """
    last: dict[Candidate, Outcome] = {}
    staying = list(candidates)
    for number, size in enumerate(sizes := rounds(calib)):
        for candidate in staying:
            last[candidate] = _fit(run(candidate, size), limits, refused, first=number == 0)
        kept = [last[candidate] for candidate in staying if not last[candidate].reason]
        if size != sizes[-1]:
            kept, beaten = _better_half(kept)
            last |= {one.candidate: _out(one, f"not in the better half of {one.candidate.bits}") for one in beaten}
        staying = [one.candidate for one in kept]
    return [last[candidate] for candidate in candidates]


def _fit(outcome: Outcome, limits: Limits, refused: Refused, *, first: bool) -> Outcome:
    """The outcome with the reason to go no further, if there is one."""
    record = outcome.record
    if outcome.reason or record is None:
        return outcome
    if record["status"] != "done":
        error = record["error"]
        return _out(outcome, f"failed ({error['kind']}): {' '.join(error['message'].split())}")
    if broken := limits.never(record):
        return _out(outcome, "; ".join(broken))
    return _out(outcome, refused(record)) if first else outcome


def _out(outcome: Outcome, reason: str) -> Outcome:
    return Outcome(outcome.candidate, outcome.calib, outcome.record, reason)


def _better_half(outcomes: Iterable[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """Of every width the better half, rounded up, in the given order; and the others."""
    by_width: dict[str, list[Outcome]] = {}
    for one in outcomes:
        by_width.setdefault(one.candidate.bits, []).append(one)
    kept: list[Outcome] = []
    beaten: list[Outcome] = []
    for members in by_width.values():
        ranked = sorted(members, key=lambda one: -one.merit)
        half = math.ceil(len(ranked) / 2)
        kept += [one for one in members if one in ranked[:half]]
        beaten += ranked[half:]
    return kept, beaten
