"""Why two sides of ``harness compare`` have no pair: what each has, and what differs where they are nearest."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from harness.errors import UsageError
from harness.leaderboard.board.grouping import Group, Network, Setting, data_name
from harness.trial.spec import calibrated

Place = tuple[Setting, Network]
Side = Mapping[Place, Sequence[Group]]
SHOWN = 3
EXPECTED = "expected records on the same model, data, bits, calibration size and images, at a common seed"


def unshared(first: Side, second: Side, names: Mapping[Place, str]) -> UsageError:
    """What is said of two sides without a pair.

    Args:
        first: Groups of the first by setting and network.
        second: Likewise.
        names: What these are called.
    """
    empty = [name for name, side in (("first", first), ("second", second)) if not side]
    if empty:
        told = f"no record of the {' and the '.join(empty)} counts, because several are of one seed"
    elif shared := [place for place in first if place in second]:
        place = shared[0]
        seeds = f"the first has seeds {_seeds(first[place])}, the second {_seeds(second[place])}"
        return UsageError(f"the two have no seed in common: in {names[place]} {seeds}", EXPECTED)
    else:
        told = f"the first has {_listed(first, names)}; the second has {_listed(second, names)}; {_nearest(first, second)}"
    return UsageError(f"the two have no setting in common: {told}", EXPECTED)


def _seeds(groups: Sequence[Group]) -> str:
    return ", ".join(map(str, sorted({seed for group in groups for seed in group.seeds})))


def _listed(side: Side, names: Mapping[Place, str]) -> str:
    shown = [f"[{names[place]}]" for place in itertools.islice(side, SHOWN)]
    return " and ".join([*shown, *([f"{len(side) - SHOWN} more"] if len(side) > SHOWN else [])])


def _nearest(first: Side, second: Side) -> str:
    """What differs between the two places that differ in the least."""
    pairs = itertools.product(first.items(), second.items())
    found = min((_differing(*one, *other) for one, other in pairs), key=len)
    return "what differs: " + ", ".join(f"{name} ({one} against {other})" for name, (one, other) in found.items())


def _differing(
    place: Place, groups: Sequence[Group], other_place: Place, other_groups: Sequence[Group]
) -> dict[str, tuple[str, str]]:
    """What people call the parts of a setting; where these are equal, the parts behind them."""
    pairs = (_facts(place, groups), _facts(other_place, other_groups)), (_parts(place), _parts(other_place))
    for one, other in pairs:
        differing = {name: (one[name], other[name]) for name in one if one[name] != other[name]}
        if differing:
            return differing
    return {}


def _facts(place: Place, groups: Sequence[Group]) -> dict[str, str]:
    setting, network = place
    return {
        "model": network.model,
        "bits": setting.bits,
        "data": data_name(groups),
        "calibration": calibrated(setting.calib, setting.calib_source),
        "images": setting.judges,
    }


def _parts(place: Place) -> dict[str, str]:
    setting, network = place
    return {**network.parts(), **setting.parts()}
