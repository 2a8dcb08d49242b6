"""Typed settings from text: ``passes=3,loss=mse`` into a frozen dataclass, all mistakes at once.

Configs are dataclasses whose fields are ``Annotated[type, Field(description=..., ge=...)]`` with defaults. A config may
carry ``PRESETS``: named sets of values that fill the fields not given explicitly, chosen by its field ``preset``. It may
carry ``IMPLIES`` (``implied.py``), and ``REFUSED``: problems, by setting and value, that say why it is no choice here. A
method ``contradictions`` may name values that do not go together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from harness.errors import Problem, nearest
from harness.method.implied import implied, settled

T = TypeVar("T")
JOINED: dict[str, JsonValue] = {"joined": True}  # marks a setting that is not part of ids while it has its default
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


@dataclass(frozen=True)
class Setting:
    """One field of a config, for ``harness describe method``.

    Attributes:
        name: Its name in stacks.
        type: Its type as text.
        default: Its default.
        description: What it does.
        choices: Allowed values; empty where any value of the type is allowed.
        bounds: Limits of a number by pydantic's words: ``ge`` and ``gt`` from below, ``le`` and ``lt`` from above.
    """

    name: str
    type: str
    default: Any
    description: str
    choices: tuple[str, ...]
    bounds: dict[str, float]

    @property
    def expected(self) -> str:
        """Type and limits in words: ``int, at least 1``, or ``int, 1 to 100``."""
        if set(self.bounds) == {"ge", "le"}:
            return f"{self.type}, {self.bounds['ge']} to {self.bounds['le']}"
        return ", ".join([self.type, *(f"{BOUNDS[name]} {value}" for name, value in self.bounds.items())])


def settings_of(config: type[Any]) -> list[Setting]:
    """All settings of a config class."""
    hints = get_type_hints(config, include_extras=True)
    return [_setting(field, hints[field.name]) for field in dataclasses.fields(config)]


def _setting(field: dataclasses.Field[Any], hint: Any) -> Setting:
    base, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    description = next((extra.description or "" for extra in extras if isinstance(extra, FieldInfo)), "")
    choices = tuple(str(choice) for choice in get_args(base)) if get_origin(base) is Literal else ()
    return Setting(field.name, _type_text(base), field.default, description, choices, _bounds(extras))


def _bounds(extras: Sequence[Any]) -> dict[str, float]:
    """The limits in a type's annotations: pydantic keeps each as an object with one attribute, ``Ge(ge=1)``."""
    marks = [mark for extra in extras for mark in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]
    return {name: getattr(mark, name) for name in BOUNDS for mark in marks if hasattr(mark, name)}


def _type_text(base: Any) -> str:
    if get_origin(base) is Literal:
        return " | ".join(str(choice) for choice in get_args(base))
    return base.__name__ if isinstance(base, type) else str(base).replace("typing.", "")


def build(config: type[T], given: Mapping[str, Any], owner: str) -> tuple[T | None, list[Problem]]:
    """Build a config from texts or values.

    Args:
        config: The dataclass.
        given: Values by field name; texts are converted.
        owner: Name of the method, for messages.

    Returns:
        The config, or None, and every problem found.
    """
    known = {setting.name: setting for setting in settings_of(config)}
    problems = [_unknown(name, known, owner) for name in given if name not in known]
    values = {**_preset(config, given, known, owner, problems), **given}
    values = {name: value for name, value in values.items() if name in known}
    try:
        built = TypeAdapter(config).validate_python(values)
    except ValidationError as error:
        reasons = getattr(config, "REFUSED", {})
        problems += [
            _invalid(detail, known, owner, reasons) for detail in error.errors() if not _is_preset(detail, problems)
        ]
        return None, problems
    built, clashes = settled(built, given, owner)
    problems += clashes
    problems += [Problem(f"{owner}: {one.text}", one.fix) for one in getattr(built, "contradictions", list)()]
    problems += [_infinite(name, value, owner) for name, value in as_dict(built).items() if _is_infinite(value)]
    return (canonical(built), problems) if not problems else (None, problems)


def canonical(config: T) -> T:
    """The one form of settings that mean the same, so that they have one id: no -0.0, and the preset that fits them best.

    A preset only fills in values, so the values decide: it is the one with which the least is left to be written.
    """
    values = as_dict(config)
    changes: dict[str, Any] = {name: 0.0 for name, value in values.items() if isinstance(value, float) and not value}
    presets: dict[str, dict[str, Any]] = getattr(config, "PRESETS", {})
    if presets and "preset" in values:
        changes["preset"] = _shortest(config, presets, {**values, **changes})
    changes = {name: value for name, value in changes.items() if repr(value) != repr(values[name])}
    return dataclasses.replace(config, **changes) if changes else config  # type: ignore[type-var]


def _shortest(config: Any, presets: Mapping[str, dict[str, Any]], values: Mapping[str, Any]) -> str:
    """The preset with which the fewest values are left to be written, the first of several."""
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(config)}
    usual: str = defaults.pop("preset")

    def left(name: str) -> int:
        filled = {**defaults, **presets.get(name, {})}
        return int(name != usual) + sum(bool(values[key] != value) for key, value in filled.items())

    return min((*presets, usual), key=left)


def _is_infinite(value: Any) -> bool:
    """Whether a value has no place in JSON, hence none in a trial's identity."""
    return isinstance(value, float) and not math.isfinite(value)


def _infinite(name: str, value: float, owner: str) -> Problem:
    return Problem(f"{owner}: {name}={value} is not valid: input should be finite", "expected a finite number")


def _is_preset(detail: Any, problems: list[Problem]) -> bool:
    return bool(problems) and detail["loc"][:1] == ("preset",)


def _preset(
    config: type[Any], given: Mapping[str, Any], known: Mapping[str, Setting], owner: str, problems: list[Problem]
) -> dict[str, Any]:
    presets: dict[str, dict[str, Any]] = getattr(config, "PRESETS", {})
    chosen = given.get("preset")
    if chosen is None or "preset" not in known:
        return {}
    if chosen in presets:
        return presets[chosen]
    if chosen not in known["preset"].choices:
        problems.append(
            Problem(
                f"{owner} has no preset {chosen!r}.{nearest(str(chosen), presets)}", f"choose one of {', '.join(presets)}"
            )
        )
    return {}


def _unknown(name: str, known: Mapping[str, Setting], owner: str) -> Problem:
    expected = ", ".join(known) or "none"
    return Problem(
        f"{owner} has no setting {name!r}.{nearest(name, known)}",
        f"use one of: {expected} (see: harness describe method {owner})",
    )


def _invalid(detail: Any, known: Mapping[str, Setting], owner: str, reasons: Mapping[str, Mapping[str, Problem]]) -> Problem:
    name = str(detail["loc"][0]) if detail["loc"] else "?"
    expected = known[name].expected if name in known else "another value"
    reason = reasons.get(name, {}).get(str(detail["input"]))
    if reason is not None:
        return Problem(f"{owner}: {name}={detail['input']!s} is no choice: {reason.text}", reason.fix)
    text = f"{owner}: {name}={detail['input']!s} is not valid: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
    if name in known and known[name].choices:
        text += nearest(str(detail["input"]), known[name].choices)
    return Problem(text, f"expected {expected}")


def as_dict(config: Any) -> dict[str, Any]:
    """All fields of a config as plain values."""
    return dataclasses.asdict(config)


def identity_of(config: Any) -> dict[str, Any]:
    """The settings that tell results apart: all, except those that joined later and are at their default.

    A field that joins with a default that does what the method did before is marked ``json_schema_extra=JOINED``: results
    of earlier versions keep their ids.
    """
    hints = get_type_hints(type(config), include_extras=True)
    later = {name for name, hint in hints.items() if _joined(hint)}
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    return {name: value for name, value in as_dict(config).items() if name not in later or value != defaults[name]}


def _joined(hint: Any) -> bool:
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return any(isinstance(extra, FieldInfo) and extra.json_schema_extra == JOINED for extra in extras)


def changed(config: Any) -> dict[str, Any]:
    """The fields of a config that must be written to get it back.

    Those that differ from what another setting fixes, else from its preset, else from their defaults.
    """
    preset: dict[str, Any] = getattr(config, "PRESETS", {}).get(getattr(config, "preset", None), {})
    filled = {**preset, **implied(config)}
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != filled.get(field.name, field.default)
    }
