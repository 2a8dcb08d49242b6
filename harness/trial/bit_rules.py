"""Widths of single sites: patterns that name sites, and what they set (``blocks.*.attn=w8a8``, ``blocks.0.*:add=32``).

A pattern is ``path[.*][:operation]``. The path is the dotted name of a module, or of a weight or constant; ``*`` stands for
any text, ``?`` for one character, ``[0-2]`` for one of several.

- ``path``: everything at these modules and inside of them; ``path.*`` is the same.
- ``path:operation``: this operation of these modules alone; ``path.*:operation``: also inside of them.

An operation is what comes after the colon in a site's name (``add``, ``linear[x]``), the kind of its values (``softmax``),
``weight``, ``constant`` or ``input``. A number tells operations of one module apart: ``add_0``, ``add_1``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from typing import Protocol

from harness.errors import UsageError
from harness.text import shortened

INSIDE = ".*"
ROOT = "model"  # module of operations that the network itself runs
GRAMMAR = "a rule is <path>[.*][:<operation>]=<widths>, for example blocks.*.attn=w8a8, head=w8 or blocks.[0-2].*:add=32"
_PATH = re.compile(r"[\w.*?\[\]!\-]+")
_OPERATION = re.compile(r"[A-Za-z]\w*(?:\[\w\])?")
_WIDTHS = re.compile(r"(\d{1,9})|(?=[was])(?:w(\d{1,9}))?(?:a(\d{1,9}))?(?:s(\d{1,9}))?")
_NUMBERED = re.compile(r"(.*?)(?:_(\d+))?(\[\w\])?")


class Addressed(Protocol):
    """What a pattern looks at: a site of a network (``harness.graph.sites.Site``)."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def module(self) -> str:
        """Path of its module; empty for the network itself."""

    @property
    def kind(self) -> str:
        """The operation that computes its values; ``weight``, ``constant`` or ``input`` for the others."""


@dataclass(frozen=True)
class SitePattern:
    """Which sites a rule is about.

    Attributes:
        path: Pattern of module paths.
        inside: What is inside of these modules is meant too.
        operation: The operation; empty for all.
    """

    path: str
    inside: bool
    operation: str = ""

    @classmethod
    def parse(cls, text: str) -> SitePattern:
        """Read ``path[.*][:operation]``.

        Raises:
            UsageError: It does not follow the grammar.
        """
        path, colon, operation = text.strip().partition(":")
        inside = path.endswith(INSIDE) or not colon
        path = path.removesuffix(INSIDE) or path
        if _bracket(path) or not _PATH.fullmatch(path) or (colon and not _OPERATION.fullmatch(operation)):
            raise UsageError(f"sites {shortened(text.strip())!r} not understood: {_bracket(text)}{GRAMMAR}")
        return cls(path, inside, operation)

    def __str__(self) -> str:
        if not self.operation:
            return self.path
        return f"{self.path}{INSIDE if self.inside else ''}:{self.operation}"

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return re.compile(translate(self.path))

    def is_at(self, path: str) -> bool:
        """Whether the pattern's path is this one."""
        return self._regex.fullmatch(path) is not None

    def matches(self, site: Addressed) -> bool:
        """Whether the pattern is about a site."""
        if self.operation and self.operation not in operations_of(site):
            return False
        return any(map(self.is_at, self._paths(site)))

    def _paths(self, site: Addressed) -> Iterator[str]:
        for path in paths_of(site):
            yield path
            while self.inside and "." in path:
                path = path.rpartition(".")[0]
                yield path


def _bracket(text: str) -> str:
    """What is said of a ``[`` or ``]`` without its other half; empty where there is none."""
    rest = re.sub(r"\[!?\]?[^\]]*\]", "", text)  # as fnmatch reads it, a ] at the beginning is one of the characters
    found = next((character for character in rest if character in "[]"), "")
    return f"its {found!r} is never {'closed' if found == '[' else 'opened'}; " if found else ""


def _wrong_part(text: str) -> str:
    """What of a rule is not understood: its widths, or its sites where there is no equals sign."""
    _, equals, widths = text.partition("=")
    if not equals:
        return _bracket(text)
    given = shortened(widths.strip())
    return f"{given!r} are no widths, expected such as w8, a8, w8a8 or 8; " if given else "no widths after =; "


def paths_of(site: Addressed) -> tuple[str, ...]:
    """The paths by which a site is known: its module, and its own name where it is a tensor of the network."""
    own = () if ":" in site.name else (site.name,)
    return (*own, site.module or ROOT)


def operations_of(site: Addressed) -> tuple[str, ...]:
    """The words by which a site is known after the colon: from the most precise on."""
    label = site.name.partition(":")[2]
    if not label:
        return (str(site.kind),)
    match = _NUMBERED.fullmatch(label)
    assert match is not None  # the pattern takes every text
    base, number, operand = match[1], match[2] or "0", match[3] or ""
    return (f"{base}_{number}{operand}", f"{base}{operand}", str(site.kind))


def address_of(site: Addressed) -> str:
    """The pattern that is about this site and no other."""
    if ":" not in site.name:
        return f"{site.name}:{site.kind}"
    return f"{site.module or ROOT}:{operations_of(site)[0]}"


@dataclass(frozen=True)
class BitRule:
    """Widths of the sites that a pattern names; None leaves what was before.

    Attributes:
        pattern: The sites.
        weight: Width of weights.
        activation: Width of activations and constants.
        attention: Width of attention probabilities.
        every: One number was given, for all three: attention probabilities have no width of their own then.
    """

    pattern: SitePattern
    weight: int | None = None
    activation: int | None = None
    attention: int | None = None
    every: bool = False

    @classmethod
    def parse(cls, text: str) -> BitRule:
        """Read ``pattern=widths``.

        Raises:
            UsageError: It does not follow the grammar.
        """
        if not text.strip():
            raise UsageError(f"bits have an empty rule, two semicolons with nothing between them: {GRAMMAR}")
        sites, equals, widths = text.partition("=")
        match = _WIDTHS.fullmatch(widths.strip().lower())
        if not equals or match is None:
            raise UsageError(f"bits {shortened(text.strip())!r} not understood: {_wrong_part(text)}{GRAMMAR}")
        every, weight, activation, attention = (None if group is None else int(group) for group in match.groups())
        if every is not None:
            return cls(SitePattern.parse(sites), every, every, None, every=True)
        return cls(SitePattern.parse(sites), weight, activation, attention)

    @property
    def widths(self) -> str:
        """What it sets, as it is written."""
        if self.every:
            return str(self.weight)
        named = (("w", self.weight), ("a", self.activation), ("s", self.attention))
        return "".join(f"{letter}{width}" for letter, width in named if width is not None)

    def __str__(self) -> str:
        return f"{self.pattern}={self.widths}"

    def replaces(self, other: BitRule) -> bool:
        """Whether nothing is left of an earlier rule after this one."""
        if self.pattern != other.pattern:
            return False
        pairs = ((self.weight, other.weight), (self.activation, other.activation))
        own = self.every or self.attention is not None or (other.attention is None and not other.every)
        return own and all(mine is not None or theirs is None for mine, theirs in pairs)


def parse_rules(texts: list[str]) -> tuple[BitRule, ...]:
    """Rules in their order, without those of which a later one leaves nothing.

    Raises:
        UsageError: One does not follow the grammar.
    """
    rules = [BitRule.parse(text) for text in texts]
    return tuple(rule for at, rule in enumerate(rules) if not any(later.replaces(rule) for later in rules[at + 1 :]))
