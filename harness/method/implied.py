"""Settings that another setting decides: filled in where they were not given, refused where something else was given.

A config says so with ``IMPLIES``: ``{"sites": {"deploy": {"weights": "symmetric"}}}`` fixes ``weights`` wherever ``sites``
is ``deploy``. So both ways to write it are one trial with one name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from harness.errors import Problem

T = TypeVar("T")
Implies = Mapping[str, Mapping[Any, Mapping[str, Any]]]


def implied(config: Any) -> dict[str, Any]:
    """The settings that others fix, with their values."""
    return {name: value for _, fixed in _decided(config) for name, value in fixed.items()}


def settled(config: T, given: Mapping[str, Any], owner: str) -> tuple[T, list[Problem]]:
    """The config with all fixed settings at their values.

    Args:
        config: As it was built.
        given: What was written, by name: only this can clash.
        owner: Name of the method, for messages.
    """
    problems = [
        _clash(owner, config, decider, name, value)
        for decider, fixed in _decided(config)
        for name, value in fixed.items()
        if name in given and getattr(config, name) != value
    ]
    fixed = implied(config)
    return (dataclasses.replace(config, **fixed) if fixed else config), problems  # type: ignore[type-var]


def _decided(config: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """``("sites", {"weights": "symmetric"})`` for each setting whose value fixes others."""
    implies: Implies = getattr(config, "IMPLIES", {})
    return [(name, by[getattr(config, name)]) for name, by in implies.items() if getattr(config, name) in by]


def _clash(owner: str, config: Any, decider: str, name: str, value: Any) -> Problem:
    given = getattr(config, name)
    here = _written(decider, getattr(config, decider))
    text = f"{owner}: {here} goes with {_written(name, value)} only, and {_written(name, given)} was given"
    others = [
        _written(decider, other) for other, fixed in config.IMPLIES[decider].items() if fixed.get(name, given) == given
    ]
    return Problem(text, f"leave {name} out" + (f", or choose {' or '.join(others)}" if others else ""))


def _written(name: str, value: Any) -> str:
    return f"{name}={str(value).lower() if isinstance(value, bool) else value}"
