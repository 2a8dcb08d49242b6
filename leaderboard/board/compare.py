"""Two trials, stacks or sets of records against each other: is the difference real?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from harness.errors import UsageError
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.grouping import Group, Row, data_name, gathered, without_doubles
from harness.leaderboard.board.labels import told_apart
from harness.leaderboard.board.unshared import Place, unshared
from harness.leaderboard.stats.difference import Difference, Estimate, difference
from harness.leaderboard.stats.inference import accuracy
from harness.trial.spec import calibrated

WORDS = {"better": "the second is better", "worse": "the first is better", "equal": "no difference on any image"}


@dataclass(frozen=True)
class Pair:
    """Two results on the same images.

    Attributes:
        setting: What they have in common, as text; it says so where right is what full precision predicts.
        ids: Records of the first and of the second, by common seed.
        seeds: The seeds.
        first: Accuracy of the first over images and seeds; over the images of one seed without per-image results. Its
            interval is Wilson's for one seed, and never leaves 0 to 100 %.
        second: Of the second.
        difference: Second minus first; None without per-image results.
        verdict: The conclusion in words.
    """

    setting: str
    ids: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    first: Estimate
    second: Estimate
    difference: Difference | None
    verdict: str


def compare(first: pd.DataFrame, second: pd.DataFrame, evidence: Evidence) -> list[Pair]:
    """Compare wherever both have records of the same setting and network; several of a setting are paired by seed.

    A stack of several versions makes a pair for each of them.

    Raises:
        UsageError: They have no setting or no seed in common, or one side has several stacks there.
    """
    known = gathered(pd.concat([first, second]).drop_duplicates("id"))  # together, for labels that tell both sides apart
    ones, others = _by_place(known, set(first["id"])), _by_place(known, set(second["id"]))
    shared = [place for place in ones if place in others]
    names = _names(shared, [[*ones[place], *others[place]] for place in shared])
    found = [
        _pair(f"{names[place]}{_versions(one, other)}", one, other, evidence)
        for place in shared
        for one in _versions_of(ones[place], "first")
        for other in _versions_of(others[place], "second")
        if _common(one, other)
    ]
    if not found:
        places = list(dict.fromkeys([*ones, *others]))
        names = _names(places, [[*ones.get(place, []), *others.get(place, [])] for place in places])
        raise unshared(ones, others, names)
    return found


def _by_place(known: Sequence[Group], ids: Collection[str]) -> dict[Place, list[Group]]:
    """The part of each group that is on one side, by setting and network."""
    found: dict[Place, list[Group]] = {}
    for group in known:
        mine = tuple(row for row in group.rows if row["id"] in ids)
        if mine:
            part = without_doubles(replace(group, rows=mine))
            if part.rows:
                found.setdefault((group.setting.unaltered, replace(group.network, label="")), []).append(part)
    return found


def _names(places: Sequence[Place], members: Sequence[Sequence[Group]]) -> dict[Place, str]:
    """What the places are called: no two of them the same."""
    names = [
        f"{network.model}, {setting.bits}, {data_name(groups)}, {calibrated(setting.calib, setting.calib_source)}"
        f"{f', {setting.judges}' if setting.held_out else ''}"
        for (setting, network), groups in zip(places, members, strict=True)
    ]
    labels = told_apart(names, [{**network.parts(), **setting.parts()} for setting, network in places])
    return dict(zip(places, labels, strict=True))


def _versions_of(members: Sequence[Group], side: str) -> Sequence[Group]:
    """The groups of one stack at one place: they differ in their versions only.

    Raises:
        UsageError: There are several stacks.
    """
    stacks = sorted({group.recipe.stack for group in members})
    if len(stacks) > 1:
        raise UsageError(f"the {side} has several stacks in one setting: {', '.join(stacks)}", "name one stack or trial")
    return members


def _versions(one: Group, other: Group) -> str:
    """Which versions are compared, where there are several of a stack."""
    labels = [group.recipe.label for group in (one, other)]
    return f" ({labels[0]} against {labels[1]})" if labels != [one.recipe.stack, other.recipe.stack] else ""


def _common(one: Group, other: Group) -> list[tuple[Row, Row]]:
    """Records of the same seed; two single trials may have different ones."""
    if len(one.rows) == len(other.rows) == 1:
        return [(one.rows[0], other.rows[0])]
    by_seed = dict(zip(other.seeds, other.rows, strict=True))
    return [(row, by_seed[seed]) for seed, row in zip(one.seeds, one.rows, strict=True) if seed in by_seed]


def _pair(setting: str, one: Group, other: Group, evidence: Evidence) -> Pair:
    ids = tuple((str(a["id"]), str(b["id"])) for a, b in _common(one, other))
    firsts, seconds = zip(*ids, strict=True)
    first, second = evidence.correct(firsts), evidence.correct(seconds)
    found = difference(first, second) if first is not None and second is not None and first.shape == second.shape else None
    return Pair(
        setting=setting,
        ids=ids,
        seeds=tuple(int(row["seed"]) for row, _ in _common(one, other)),
        first=_possible(evidence.accuracy(firsts), first),
        second=_possible(evidence.accuracy(seconds), second),
        difference=found,
        verdict=_verdict(found),
    )


def _possible(found: Estimate, correct: np.ndarray | None) -> Estimate:
    """An accuracy with an interval of possible values: Wilson's for one seed, else cut off at 0 and 100."""
    if correct is not None and len(correct) == 1:
        return replace(found, interval=accuracy(int(correct.sum()), correct.shape[1]))
    own = found.interval
    return replace(found, interval=replace(own, low=max(0.0, own.low), high=min(100.0, own.high)))


def _verdict(found: Difference | None) -> str:
    """The rule of ``stats.difference`` in words."""
    if found is None:
        return "unknown: no per-image results of the same images"
    alone = " (one seed: says nothing about other calibration draws)" if found.seeds < 2 and found.discordant else ""
    return WORDS.get(found.verdict, found.verdict) + alone
