"""How a method makes itself known: its role, and the decorator ``@register``. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

NAME = re.compile(r"[A-Za-z_][\w\-]*")  # of a method, in stacks and in ``@register``


class Role(StrEnum):
    """What a method does, in the order of a stack; a ``source`` makes calibration images and is no step of one."""

    ALLOCATE = "allocate"
    SCHEME = "scheme"
    TRANSFORM = "transform"
    RANGE = "range"
    CORRECT = "correct"
    REFINE = "refine"
    SOURCE = "source"


@dataclass(frozen=True)
class MethodInfo:
    """What is known of a method without running it.

    Attributes:
        name: Its name in stacks.
        role: Its place in the order.
        needs: What an earlier step must provide (``scheme``, ``scales``).
        provides: What later steps may count on.
        version: Raised when its results change; part of a trial's identity.
        paper: Source.
        summary: First line of its docstring.
        source: Package or distribution it comes from.
        target: ``module:Class``.
        extra: Optional extra of this distribution that installs the library it needs.
        excludes: Methods that cannot be in the same stack.
    """

    name: str
    role: Role
    needs: frozenset[str] = frozenset()
    provides: frozenset[str] = frozenset()
    version: int = 1
    paper: str = ""
    summary: str = ""
    source: str = ""
    target: str = ""
    extra: str = ""
    excludes: frozenset[str] = frozenset()

    @property
    def leads(self) -> bool:
        """Whether it comes before the scheme: a transform of the network itself, which needs no quantizer."""
        return self.role is Role.TRANSFORM and not self.needs


K = TypeVar("K", bound=type[Any])


def register(
    name: str,
    *,
    role: Role,
    needs: tuple[str, ...] = (),
    provides: tuple[str, ...] = (),
    version: int = 1,
    paper: str = "",
    extra: str = "",
    excludes: tuple[str, ...] = (),
) -> Callable[[K], K]:
    """Class decorator that makes a ``Method`` or ``CalibrationSource`` known.

    Arguments must be literals: listing reads them from the source text.
    """

    def decorate(cls: K) -> K:
        cls.info = MethodInfo(
            name=name,
            role=role,
            needs=frozenset(needs),
            provides=frozenset(provides),
            version=version,
            paper=paper,
            summary=first_line(cls.__doc__),
            source=owner_of(cls.__module__),
            target=f"{cls.__module__}:{cls.__qualname__}",
            extra=extra,
            excludes=frozenset(excludes),
        )
        return cls

    return decorate


def owner_of(module: str) -> str:
    """The folder of a built-in method, or the package of another one."""
    return module.removeprefix("harness.").partition(".")[0]


def first_line(text: str | None) -> str:
    """The summary line of a docstring."""
    return (text or "").strip().split("\n")[0]
