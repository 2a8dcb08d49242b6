"""How the fields of a trial are declared: once, with all that flags, grids, identity and tables need to know of them.

Imports neither torch nor pydantic: ``harness run --help`` reads the declarations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from harness.errors import UsageError, nearest
from harness.text import shortened, user_path
from harness.trial.readers import reader_data

METADATA = "trial"
LARGEST_INTEGER = 2**63 - 1  # what records, tables and random generators hold


class Part(StrEnum):
    """The part of a trial that a field concerns; it decides what trials share when they differ in the field.

    ``network`` and ``calibration``: where every stack starts. ``data``: both sides of the data. ``stack``: methods and
    widths. ``evaluation``: only what is measured at the end, so quantized states are shared. ``execution``: how a trial
    runs, not what it is; never part of the identity.
    """

    NETWORK = "network"
    DATA = "data"
    CALIBRATION = "calibration"
    STACK = "stack"
    EVALUATION = "evaluation"
    EXECUTION = "execution"


class IdRule(StrEnum):
    """How a field enters a trial's id.

    ``resolved``: through what it stands for (a model name through the hash of its weights). ``always``: as it is.
    ``changed``: as it is, but only where it differs from its default; a field that is added later must be declared like
    that, so that the ids of earlier trials stay. ``differs``: as it is, but only where it differs from what all trials
    were before the field was there (``About.earlier``); for a field that is added later with another default.
    """

    RESOLVED = "resolved"
    ALWAYS = "always"
    CHANGED = "changed"
    DIFFERS = "differs"


@dataclass(frozen=True)
class About:
    """What is known of one field.

    Attributes:
        help: One line.
        metavar: How its value is called in usage lines, without brackets.
        part: What it concerns.
        identity: How it enters the id.
        nesting: Place among the loops of a grid, the slowest first.
        at_least: Smallest whole number.
        settings: Its text has a grammar of its own: settings in parentheses, whose commas separate no values; rules after
            semicolons.
        path: It names a file or folder: made absolute before it is written down, unless it is the default.
        names: Words that stand for something of the package, where a path could stand too.
        readers: A data set of one of timm's readers could stand there too (``harness/trial/readers.py``).
        choices: The only possible values; empty for no such limit.
        earlier: With ``IdRule.DIFFERS``, what trials were that do not have the field.
        keys: Names of a mapping's entries.
        spelled: Written in the command that repeats a trial, also at its default.
        column: pandas type of its own column in exported tables; empty where a column shows it under another name.
    """

    help: str
    metavar: str
    part: Part
    identity: IdRule = IdRule.CHANGED
    nesting: int = 45
    at_least: int | None = None
    settings: bool = False
    path: bool = False
    names: tuple[str, ...] = ()
    readers: bool = False
    choices: tuple[str, ...] = ()
    earlier: str = ""
    keys: tuple[str, ...] = ()
    spelled: bool = False
    column: str = ""


@dataclass(frozen=True)
class SpecField:
    """One declared field with its name, type and default.

    Attributes:
        name: In Python, in grids and in records.
        kind: ``str``, ``int``, ``bool``, ``Path`` or ``dict``.
        optional: None is allowed.
        default: Its default; ``dataclasses.MISSING`` where it must be given; None where it depends on other fields.
        about: What is known of it.
    """

    name: str
    kind: type
    optional: bool
    default: Any
    about: About

    @property
    def flag(self) -> str:
        """Its option on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is dataclasses.MISSING

    @property
    def is_identity(self) -> bool:
        """Whether it says what a trial is."""
        return self.about.part is not Part.EXECUTION

    def read(self, value: Any) -> Any:
        """A value of this field from text, or from a value of a configuration file.

        Raises:
            UsageError: It cannot be read as the field's type.
        """
        if value is None and (self.optional or self.default is None):
            return None
        if self.kind is int:
            return self._whole(value)
        if self.kind is bool:
            return self._truth(value)
        if self.kind is dict:
            self.check(value)
            return {str(key): str(item) for key, item in value.items()}
        return Path(str(value)) if self.kind is Path else str(value)

    def check(self, value: Any) -> None:
        """Refuse a value outside the field's range.

        Raises:
            UsageError: With the range.
        """
        if self.kind is bool and not isinstance(value, bool):
            raise self._untrue(value)
        if self.kind is dict and not isinstance(value, Mapping):
            raise UsageError(f"{self.name.replace('_', ' ')} {value!r} is not possible: expected names with values")
        if self.about.choices and value not in self.about.choices:
            expected = " or ".join(self.about.choices)
            near = nearest(str(value), self.about.choices)
            raise UsageError(f"{self.name.replace('_', ' ')} {value!r} is not possible: expected {expected}.{near}")
        if self.kind is not int or value is None:
            return
        label, least = self.name.replace("_", " "), self.about.at_least
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageError(f"{label} {value!r} is not possible: expected a whole number")
        if least is not None and value < least:
            expected = "0 or more" if least == 0 else f"at least {least}"
            raise UsageError(f"{label} {value} is not possible: expected {expected}")
        if value > LARGEST_INTEGER:
            raise UsageError(f"{label} {value} is not possible: expected at most 2^63 - 1")

    def plain(self, value: Any) -> Any:
        """The value as JSON holds it; places made absolute, because another process may start in another folder."""
        if value is None or (self.about.path and value in (self.default, *self.about.names)):
            return value
        if self.about.path:
            read = reader_data(str(value)) if self.about.readers else None
            return str(user_path(str(value)).absolute() if read is None else read.absolute())
        return dict(value) if self.kind is dict else value

    def words(self, value: Any) -> list[str]:
        """The words of a command line that give this value; none where they can be left out."""
        plain = self.plain(value)
        if self.kind is dict:
            return [word for key, item in plain.items() for word in (self.flag, f"{key}={item}")]
        if plain is None or (plain == self.default and not self.about.spelled):
            return []
        return [self.flag] if self.kind is bool else [self.flag, str(plain)]

    def _truth(self, value: Any) -> bool:
        if str(value).lower() not in ("true", "false"):
            raise self._untrue(value)
        return str(value).lower() == "true"

    def _untrue(self, value: Any) -> UsageError:
        return UsageError(f"{self.name.replace('_', ' ')} {value!r} is not possible: expected true or false")

    def _whole(self, value: Any) -> int:
        try:
            return int(str(value))
        except ValueError:
            label, given = self.name.replace("_", " "), shortened(str(value))
            raise UsageError(f"{label} {given!r} is not possible: expected a whole number such as 32") from None


def about(help: str, metavar: str, part: Part, **more: Any) -> Mapping[str, About]:
    """The ``metadata`` of a dataclass field that declares it; see ``About`` for the names in ``more``."""
    return {METADATA: About(help, metavar, part, **more)}


def fields_of(spec: type[Any]) -> tuple[SpecField, ...]:
    """The declared fields of a specification's class, in their order.

    Raises:
        TypeError: A field has no declaration, or a type that cannot be read from text.
    """
    found: tuple[SpecField, ...] = _fields_of(spec)  # type: ignore[arg-type]  # a class is hashable, mypy says not
    return found


@cache
def _fields_of(spec: Any) -> Any:
    hints = get_type_hints(spec)
    return tuple(_field(field, hints[field.name]) for field in dataclasses.fields(spec))


def _field(field: dataclasses.Field[Any], hint: Any) -> SpecField:
    if METADATA not in field.metadata:
        raise TypeError(f"field {field.name} has no declaration: give it metadata=about(...)")
    choices = [one for one in get_args(hint) if one is not type(None)] if type(None) in get_args(hint) else [hint]
    kind = dict if get_origin(choices[0]) is not None else choices[0]
    if len(choices) != 1 or kind not in (str, int, bool, Path, dict):
        raise TypeError(f"field {field.name} has type {hint}: expected str, int, bool, Path or a mapping of texts, or None")
    default = {} if field.default_factory is dict else field.default
    return SpecField(field.name, kind, len(get_args(hint)) > 1 and kind is not dict, default, field.metadata[METADATA])
