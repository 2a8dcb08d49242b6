"""Options that describe trials, derived from their declaration in ``harness/trial/spec.py``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from harness.trial.fields import SpecField, fields_of
from harness.trial.spec import TrialSpec, pairs


def add_trial(trial: argparse._ArgumentGroup, how: argparse._ArgumentGroup, without: Sequence[str] = ()) -> None:
    """One option per field of a single trial; a value that is not given stays None.

    Args:
        trial: Group of what a trial is.
        how: Group of how it runs.
        without: Fields that get none.
    """
    for one in fields_of(TrialSpec):
        if one.name in without:
            continue
        _add(trial if one.is_identity else how, one, f"<{one.about.metavar}>", one.kind if one.kind is not dict else str)


def add_grid(trials: argparse._ArgumentGroup, how: argparse._ArgumentGroup) -> None:
    """One option per field of a grid, where several values may be given, separated by commas."""
    for one in fields_of(TrialSpec):
        metavar = f"<{one.about.metavar},...>" if one.is_identity and one.kind is not dict else f"<{one.about.metavar}>"
        _add(trials if one.is_identity else how, one, metavar, str)


def _add(group: argparse._ArgumentGroup, one: SpecField, metavar: str, kind: type) -> None:
    if one.kind is dict:
        group.add_argument(one.flag, dest=one.name, action="append", metavar=metavar, help=one.about.help)
        return
    if one.kind is bool:
        group.add_argument(one.flag, dest=one.name, action="store_true", default=None, help=one.about.help)
        return
    default = "" if one.required or one.default is None else f" (default: {one.default})"
    group.add_argument(one.flag, dest=one.name, type=kind, metavar=metavar, help=one.about.help + default)


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of a trial that were given on the command line.

    Raises:
        UsageError: A mapping's entry has no equals sign.
    """
    values = {one.name: getattr(arguments, one.name, None) for one in fields_of(TrialSpec)}
    present = {name: value for name, value in values.items() if value is not None}
    maps = {one.name: one.flag for one in fields_of(TrialSpec) if one.kind is dict}
    return {name: pairs(value, maps[name]) if name in maps else value for name, value in present.items()}


def overrides(arguments: argparse.Namespace) -> list[str]:
    """The options of a grid as Hydra overrides.

    Raises:
        UsageError: A mapping's entry has no equals sign.
    """
    texts: list[str] = []
    for one in fields_of(TrialSpec):
        value = getattr(arguments, one.name)
        if value is not None and one.kind is dict:
            texts += [f"{one.name}.{key}={item}" for key, item in pairs(value, one.flag).items()]
        elif value is not None:
            texts.append(f"{one.name}={value}")
    return texts
