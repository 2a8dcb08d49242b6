"""A board against an older one: what moved, beyond what interval, and which recorded change explains it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from tabulate import tabulate

from harness.leaderboard import text
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.grouping import Group, data_name, groups
from harness.leaderboard.stats.difference import Difference, Estimate, difference

SHOWN = {"better": "up", "worse": "down", "within noise": "within noise", "equal": "unchanged", "unknown": "unknown"}
ENVIRONMENT = ("torch", "device")  # what may move the last bits of a result without a version


@dataclass(frozen=True)
class Move:
    """One stack on one network and board, then and now.

    Attributes:
        where: Board and network.
        stack: Canonical text.
        before: Accuracy then; None where it is new.
        now: Accuracy now; None where it is gone.
        seeds: Seeds that both have.
        difference: Now minus then over these seeds; None without per-image results of the same images.
        why: Every recorded change between the two.
    """

    where: str
    stack: str
    before: Estimate | None
    now: Estimate | None
    seeds: tuple[int, ...] = ()
    difference: Difference | None = None
    why: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """``up`` or ``down`` beyond the interval, ``within noise``, ``unchanged``, ``unknown``, ``new`` or ``gone``."""
        if self.before is None or self.now is None:
            return "new" if self.before is None else "gone"
        return SHOWN[self.difference.verdict if self.difference is not None else "unknown"]


def moves(before: pd.DataFrame, now: pd.DataFrame, then: Evidence, today: Evidence) -> list[Move]:
    """Every cell of both, matched by board, network and stack whatever the versions; of several versions the newest.

    Args:
        before: Rows of the older records.
        now: Rows of today's.
        then: Per-image results of the older ones.
        today: Of today's.

    Raises:
        UsageError: A side has a trial twice at the same seed.
    """
    old, new = _newest(groups(before)), _newest(groups(now))
    both = [_move(old[place], group, then, today) for place, group in new.items() if place in old]
    added = [_one_sided(group, today, is_new=True) for place, group in new.items() if place not in old]
    gone = [_one_sided(group, then, is_new=False) for place, group in old.items() if place not in new]
    return [*both, *added, *gone]


def _newest(found: Sequence[Group]) -> dict[str, Group]:
    """The groups by what they are called, which no version is part of."""
    ordered = sorted(found, key=_age)
    return {_place(group): group for group in ordered}


def _age(group: Group) -> tuple[int, list[int]]:
    versions = [int(one) for one in group.recipe.versions.split(".") if one.isdigit()]
    return group.recipe.identity_version or 0, versions


def _place(group: Group) -> str:
    setting, network = group.setting, group.network
    of_board = [setting.fingerprint, setting.images, setting.eval_limit, setting.bits, setting.calib, setting.calib_source]
    rest = [setting.other, network.model, network.weights, network.preprocessing]
    return json.dumps([*of_board, *rest, group.recipe.stack, group.recipe.protocol])


def _where(group: Group) -> str:
    return f"{group.network.model}, {group.setting.title(data_name([group]))}"


def _one_sided(group: Group, evidence: Evidence, *, is_new: bool) -> Move:
    found = evidence.accuracy(_ids(group))
    return Move(_where(group), group.recipe.stack, None if is_new else found, found if is_new else None)


def _ids(group: Group, seeds: Collection[int] | None = None) -> list[str]:
    """Its records, of some seeds or of all."""
    return [str(row["id"]) for row in group.rows if seeds is None or row["seed"] in seeds]


def _move(old: Group, new: Group, then: Evidence, today: Evidence) -> Move:
    seeds = tuple(seed for seed in old.seeds if seed in new.seeds)
    first, second = then.correct(_ids(old, seeds)), today.correct(_ids(new, seeds))
    known = first is not None and second is not None and first.shape == second.shape
    return Move(
        where=_where(new),
        stack=new.recipe.stack,
        before=then.accuracy(_ids(old)),
        now=today.accuracy(_ids(new)),
        seeds=seeds,
        difference=difference(first, second) if known else None,  # type: ignore[arg-type]
        why=tuple(_changes(old, new)),
    )


def _changes(old: Group, new: Group) -> Iterator[str]:
    """Every recorded difference between two groups of the same stack."""
    yield from _of_steps(json.loads(old.recipe.methods or "[]"), json.loads(new.recipe.methods or "[]"))
    pairs = {
        "identity version": (old.recipe.identity_version, new.recipe.identity_version),
        "calibration source": (old.setting.source, new.setting.source),
        "pattern of blocks": (old.network.blocks, new.network.blocks),
        "seeds": (_joined(old.seeds), _joined(new.seeds)),
    }
    pairs |= {name: (_distinct(old, name), _distinct(new, name)) for name in (*ENVIRONMENT, "commit")}
    yield from (f"{name} {_word(one)} to {_word(other)}" for name, (one, other) in pairs.items() if one != other)


def _of_steps(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one, other in zip(old, new, strict=False):
        if one.get("version") != other.get("version"):
            yield f"{other['name']} version {one.get('version')} to {other.get('version')}"
        before, after = one.get("config", {}), other.get("config", {})
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                yield f"{other['name']}: {name} {_word(before.get(name))} to {_word(after.get(name))}"


def _distinct(group: Group, name: str) -> str:
    return _joined(sorted({str(row[name]) for row in group.rows if row[name]}))


def _joined(values: Sequence[object]) -> str:
    return " and ".join(map(str, values))


def _word(value: object) -> str:
    return "nothing" if value is None or value == "" else str(value)


def moves_markdown(found: Sequence[Move], name: str) -> str:
    """What moved, as a table with the largest moves first, and how much did not.

    Args:
        found: All cells.
        name: What they are compared with.
    """
    counts = {verdict: sum(one.verdict == verdict for one in found) for verdict in (*SHOWN.values(), "new", "gone")}
    summary = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number) or "nothing to compare"
    moved = sorted((one for one in found if one.verdict != "unchanged"), key=_order)
    headers = ("where", "stack", "before", "now", "moved by", "verdict", "recorded changes")
    lines = [
        [
            text.markdown(one.where),
            text.code(one.stack),
            _accuracy(one.before),
            _accuracy(one.now),
            _moved(one.difference),
            one.verdict,
            text.markdown("; ".join(one.why)) or ("-" if one.verdict in ("new", "gone") else "none recorded"),
        ]
        for one in moved
    ]
    table = tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)
    about = "Moved by: now minus then over common seeds and the same images, in points with the 95 % interval."
    return "\n\n".join([f"### Against {text.markdown(name)}", f"Cells: {summary}.", *([table, about] if moved else [])])


def _order(one: Move) -> tuple[int, float]:
    size = abs(one.difference.interval.value) if one.difference is not None else 0.0
    return -("up", "down").count(one.verdict), -size


def _accuracy(found: Estimate | None) -> str:
    return "-" if found is None else f"{found.interval.value:.2f} (n={found.seeds})"


def _moved(found: Difference | None) -> str:
    if found is None:
        return "-"
    return f"{found.interval.value:+.2f} ({found.interval.low:+.2f} to {found.interval.high:+.2f})"
