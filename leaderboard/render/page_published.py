"""Published numbers on the page: every value of a network once, and which of them belong to which cell."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from harness.leaderboard.published.numbers import Accuracy, Comparison, models, runtimes

# By the records of a cell: the number of each published value, the verdict, and what keeps them from being compared.
ByCell = dict[tuple[str, ...], list[tuple[int, str, str]]]


def published(found: Sequence[Comparison]) -> tuple[list[dict[str, Any]], ByCell]:
    """All published accuracies of the networks here, also of methods that were not measured, and what belongs to whom.

    Args:
        found: As ``harness.leaderboard.published.numbers.compare`` makes it.
    """
    numbers: dict[Accuracy, int] = {}
    by_cell: ByCell = {}
    for one in found:
        number = numbers.setdefault(one.published, len(numbers))
        if one.cell is not None:
            by_cell.setdefault(one.cell.ids, []).append((number, one.verdict, one.why))
    known = models()
    plain = [
        {
            "method": one.method,
            "model": known.get(one.model, one.model),
            "bits": one.bits,
            "top1": one.top1,
            "source": one.source,
            "notes": one.notes,
        }
        for one in numbers
    ]
    return plain, by_cell


def published_runtimes(names: Collection[str]) -> list[dict[str, Any]]:
    """Published runtimes of networks, with their hardware.

    Args:
        names: ``arch.tag`` of the networks.
    """
    known = models()
    return [{**asdict(one), "model": known[one.model]} for one in runtimes() if known.get(one.model) in names]
