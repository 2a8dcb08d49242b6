"""Stacks: ``fqvit+omse(granularity=shared)+evolq(passes=3)`` parsed, checked as a whole, and written canonically."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.errors import Problem, StackError, UsageError
from harness.method import registry, settings
from harness.method.guard import guarded
from harness.method.registration import NAME, MethodInfo, Role
from harness.text import split_outside
from harness.trial.identity import content_id

if TYPE_CHECKING:
    from harness.method.base import Method

_STEP = re.compile(rf"\s*({NAME.pattern})\s*(?:\(([^()]*)\))?\s*")
_SETTING = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*([^=,]*?)\s*")
GRAMMAR = "method[(setting=value,...)] joined by +, for example fqvit+omse(granularity=shared)+evolq(passes=3)"


@dataclass(frozen=True)
class Step:
    """One parsed step: a method's name and the settings as they were written."""

    name: str
    given: dict[str, str]


@dataclass(frozen=True)
class StackStep:
    """One checked step.

    Attributes:
        info: The method's registration.
        method: The method with its config.
        scheme: For a step that chooses widths: the scheme after it, which it chooses them for.
    """

    info: MethodInfo
    method: Method[Any]
    scheme: StackStep | None = None

    @property
    def text(self) -> str:
        """Canonical form: the name and only the settings needed to read it back, in the config's order."""
        return written(self.info, self.method.config)

    def identity(self) -> dict[str, Any]:
        """What identifies the step: name, version, all settings, and the scheme that widths are chosen for."""
        found = identified(self.info, self.method.config)
        return found if self.scheme is None else {**found, "scheme": self.scheme.identity()}


@dataclass(frozen=True)
class Stack:
    """A checked composition of methods in order."""

    steps: tuple[StackStep, ...]

    def __str__(self) -> str:
        return "+".join(step.text for step in self.steps)

    @property
    def protocol(self) -> str:
        """``paper`` when any step breaks the strict protocol, else ``strict``."""
        return "paper" if any(step.method.protocol == "paper" for step in self.steps) else "strict"

    def identity(self) -> list[dict[str, Any]]:
        """What identifies the stack."""
        return [step.identity() for step in self.steps]


def written(info: MethodInfo, config: Any) -> str:
    """Name and changed settings, as they are written in a stack."""
    values = ",".join(f"{name}={plain(value)}" for name, value in settings.changed(config).items())
    return f"{info.name}({values})" if values else info.name


def identified(info: MethodInfo, config: Any) -> dict[str, Any]:
    """What identifies a method with its settings: name, version, all settings."""
    return {"name": info.name, "version": info.version, "config": settings.identity_of(config)}


def parse(text: str) -> list[Step]:
    """Split a stack's text into steps, without looking methods up.

    Raises:
        UsageError: The text does not follow the grammar; the message quotes the place.
    """
    _check_parentheses(text)
    return [_parse_step(part, text) for part in split_outside(text, "+")]


def _check_parentheses(text: str) -> None:
    depth = 0
    for index, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth not in (0, 1):
            raise UsageError(f"stack {text!r} has a misplaced {character!r} at character {index + 1}: expected {GRAMMAR}")
    if depth:
        raise UsageError(f"stack {text!r} has an open parenthesis: expected {GRAMMAR}")


def _parse_step(part: str, text: str) -> Step:
    match = _STEP.fullmatch(part)
    if match is None:
        raise UsageError(f"stack {text!r}: cannot read {part.strip()!r}: expected {GRAMMAR}")
    name, inner = match.groups()
    given: dict[str, str] = {}
    for item in inner.split(",") if inner and inner.strip() else []:
        setting = _SETTING.fullmatch(item)
        if setting is None:
            raise UsageError(f"stack {text!r}: cannot read setting {item.strip()!r} of {name}: expected setting=value")
        if setting[1] in given:
            raise UsageError(f"stack {text!r}: setting {setting[1]!r} of {name} is given twice")
        given[setting[1]] = setting[2]
    return Step(name, given)


def set_up(info: MethodInfo, given: Mapping[str, Any]) -> tuple[Any, list[Problem]]:
    """A method or calibration source with its settings.

    Args:
        info: Its registration.
        given: Settings by name, as texts or values.

    Returns:
        The instance, or None, and every problem of the settings.

    Raises:
        IncompatibleError: Its code cannot be imported, or fails, or its settings are no plain values.
    """
    cls = registry.load(info.name)
    with guarded(f"method {info.name!r} of {info.source} cannot be set up"):
        config, problems = settings.build(cls.Config, given, info.name)
        if config is None:
            return None, problems
        content_id(identified(info, config))  # what has no place in an id is refused here, with the method's name
        return cls(config), problems


def check(text: str) -> Stack:
    """Parse a stack and check all of it before any work.

    Raises:
        UsageError: The text does not follow the grammar.
        StackError: Every problem of the stack with its fix.
        IncompatibleError: A method of it is broken.
    """
    known = registry.available()
    problems: list[Problem] = []
    steps: list[StackStep] = []
    provided: set[str] = set()
    seen: dict[str, MethodInfo] = {}
    scheme = ""
    parsed = parse(text)
    for step in parsed:
        info = known.get(step.name)
        if info is None:
            problems.append(Problem(registry.unknown_method(step.name, known), "correct the name or remove the step"))
            provided |= {"scheme", "scales"}  # an unknown step must not cause follow-up complaints
            continue
        if info.role is Role.SOURCE:
            fix = f"remove it from the stack and add --calib-source {info.name}"
            problems.append(Problem(f"{info.name} makes calibration images, it is no step of a stack", fix))
            continue
        problems += _order_problems(info, provided, scheme, seen, text)
        problems += _excluded(info, seen)
        problems += _missing_scheme(info, parsed, known)
        scheme = scheme or (info.name if info.role is Role.SCHEME else "")
        provided |= info.provides
        seen[info.name] = info
        method, wrong = set_up(info, step.given)
        problems += wrong
        if method is not None:
            steps.append(StackStep(info, method))
    if problems:
        raise StackError(text, problems)
    return Stack(_with_schemes(steps))


def _with_schemes(steps: list[StackStep]) -> tuple[StackStep, ...]:
    """The steps, those that choose widths with the scheme that they choose them for."""
    scheme = next((step for step in steps if step.info.role is Role.SCHEME), None)
    return tuple(replace(step, scheme=scheme) if step.info.role is Role.ALLOCATE else step for step in steps)


def _excluded(info: MethodInfo, seen: Mapping[str, MethodInfo]) -> Iterator[Problem]:
    """Steps before this one that cannot be in a stack with it."""
    for name, one in seen.items():
        if name in info.excludes or info.name in one.excludes:
            yield Problem(f"{name} and {info.name} do not go together", f"leave {name} or {info.name} out")


def _missing_scheme(info: MethodInfo, parsed: list[Step], known: Mapping[str, MethodInfo]) -> Iterator[Problem]:
    """A step that chooses widths without a scheme to choose them for; an unknown step may be one."""
    schemes = (step.name not in known or known[step.name].role is Role.SCHEME for step in parsed)
    if info.role is Role.ALLOCATE and not any(schemes):
        yield Problem(f"{info.name} chooses widths for a scheme, and there is none", f"use {info.name}+fqvit")


def _order_problems(
    info: MethodInfo, provided: set[str], scheme: str, seen: Mapping[str, MethodInfo], text: str
) -> Iterator[Problem]:
    others = [name for name, one in seen.items() if one.role is not Role.ALLOCATE and not one.leads]
    if info.role is Role.ALLOCATE and others:
        yield Problem(f"{info.name} (chooses widths) comes after other methods", f"put {info.name} first")
    elif info.role is Role.SCHEME and scheme:
        yield Problem(
            f"two schemes: {scheme} and {info.name} both decide which sites exist", f"keep one of {scheme} and {info.name}"
        )
    elif info.role is Role.SCHEME and others:
        yield Problem(f"{info.name} (a scheme) comes after other methods", f"put {info.name} first")
    elif info.role is Role.SCHEME and info.extra and seen:
        before = next(iter(seen))
        yield Problem(f"{info.name} quantizes the network without what {before} changes in it", f"leave {before} out")
    elif info.name in seen:
        yield Problem(f"{info.name} is there twice", "remove one of the two")
    elif info.leads and others:
        fix = f"put {info.name} first: {info.name}+{others[0]}"
        yield Problem(f"{info.name} changes the network that {others[0]} has calibrated quantizers for", fix)
    missing = sorted(info.needs - provided)
    if missing and scheme:
        yield Problem(
            f"{info.name} needs {' and '.join(missing)}, which {scheme} does not provide",
            "use a quantizing scheme such as fqvit or minmax",
        )
    elif missing:
        fix = (
            f"put a scheme such as fqvit before it: fqvit+{info.name}"
            if "+" not in text
            else "put a scheme such as fqvit first"
        )
        yield Problem(f"{info.name} needs {' and '.join(missing)}, but no scheme comes before it", fix)


def plain(value: Any) -> str:
    """A setting's value as it is written in stacks."""
    return str(value).lower() if isinstance(value, bool) else str(value)
