"""Number formats by name: ``@number_format`` makes a class known, state files keep the name."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from harness.errors import FormatError, nearest
from harness.quant.format.base import NumberFormat

NAME = "scheme"  # key of the format's name among the facts of a state
F = TypeVar("F", bound=NumberFormat)
_CLASSES: dict[str, type[NumberFormat]] = {}


def number_format(name: str) -> Callable[[type[F]], type[F]]:
    """Class decorator, above ``@dataclass(frozen=True)``, that makes a number format known under a name.

    Args:
        name: What state files and coverage tables call it. It must stay: states are read back by it.

    Raises:
        FormatError: The name belongs to another class, or the class lacks one of the abstract methods.
    """

    def decorate(cls: type[F]) -> type[F]:
        other = _CLASSES.get(name)
        if other is not None and _target(other) != _target(cls):
            raise FormatError(f"two number formats are called {name!r}: {_target(other)} and {_target(cls)}", "rename one")
        if inspect.isabstract(cls):
            missing = " and ".join(sorted(cls.__abstractmethods__))
            raise FormatError(f"number format {name!r} ({_target(cls)}) does not define {missing}")
        cls.name = name
        _CLASSES[name] = cls
        return cls

    return decorate


def number_formats() -> dict[str, type[NumberFormat]]:
    """Every known number format by name: the built-in ones and those of packages imported so far."""
    return dict(sorted(_CLASSES.items()))


def written(quantizer: NumberFormat) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state of a format with its name, for a file.

    Raises:
        FormatError: Its class is not registered, or its facts would not come back from JSON: it could not be read again.
    """
    cls = type(quantizer)
    if _CLASSES.get(cls.name) is not cls:
        raise FormatError(
            f"{_target(cls)} is not a registered number format, so its state could not be read back",
            "put @number_format('a_name_of_its_own') above the class and its @dataclass",
        )
    tensors, facts = quantizer.state()
    if NAME in facts or not _plain(facts):
        raise FormatError(
            f"facts of number format {cls.name!r} ({_target(cls)}) are {facts!r}, "
            f"expected numbers, texts, lists and None by names other than {NAME!r}"
        )
    return tensors, {**facts, NAME: cls.name}


def read(tensors: dict[str, Tensor], facts: dict[str, Any]) -> NumberFormat:
    """The format that ``written`` gave this state.

    Raises:
        FormatError: No class is registered under the state's name.
    """
    name = facts[NAME]
    if name not in _CLASSES:
        raise FormatError(
            f"unknown number format {name!r}.{nearest(name, _CLASSES)} Known: {', '.join(sorted(_CLASSES))}",
            "install or import the package that defines it",
        )
    return _CLASSES[name].from_state(tensors, {key: value for key, value in facts.items() if key != NAME})


def _plain(facts: dict[str, Any]) -> bool:
    try:
        return bool(json.loads(json.dumps(facts)) == facts)
    except TypeError:  # what json says of values it has no notation for
        return False


def _target(cls: type[Any]) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
