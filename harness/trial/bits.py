"""Bit-widths of a trial: weights, activations, attention probabilities (``w4a8``, ``w8a8s4``), and of single sites.

Widths of single sites follow after semicolons: ``w4a8; blocks.*.attn=w8a8; head=w8``. Later rules win. The canonical form
has no spaces, and no rule that changes nothing: ``w4a8;head=w4`` is ``w4a8``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property

from harness.errors import UsageError, nearest
from harness.text import shortened
from harness.trial.bit_rules import Addressed, BitRule, address_of, parse_rules

FULL, NARROWEST = 32, 2
INPUT = "input"
_GRAMMAR = re.compile(r"w(\d{1,9})a(\d{1,9})(?:s(\d{1,9}))?")  # longer numbers are slow to read, and none of them is a width
_COMMON = ("w8a8", "w6a8", "w4a8", "w3a8", "w2a8", "w6a6", "w4a6", "w4a4", "w3a3", "w8a8s4", "w4a8s4", "w32a32")
_NAMES = ("weight", "activation", "attention")


@dataclass(frozen=True)
class Bits:
    """Widths of one trial.

    Attributes:
        weight: Weights: 2 to 8, or 32 for full precision.
        activation: Activations: 2 to 8, or 32.
        attention: Attention probabilities (the softmax's output): 2 to 8 or 32; None means as activations.
        rules: Widths of single sites, in the order in which they were given; ``at`` applies them.

    Raises:
        UsageError: A width outside these ranges.
    """

    weight: int
    activation: int
    attention: int | None = None
    rules: tuple[BitRule, ...] = ()

    def __post_init__(self) -> None:
        for widths in (self, *self.rules):
            for name in _NAMES:
                width = getattr(widths, name)
                if width is not None and width != FULL and not NARROWEST <= width <= 8:
                    where = "" if widths is self else f" in {str(widths)!r}"
                    expected = f"{NARROWEST} to 8, or {FULL} for full precision"
                    raise UsageError(f"{name} bits {width}{where} are not possible: expected {expected}")

    @classmethod
    def parse(cls, text: str) -> Bits:
        """Read ``w4a8`` or ``w8a8s4`` (s: attention probabilities), and rules for single sites after semicolons.

        Raises:
            UsageError: The text does not follow the grammar, or a width is out of range.
        """
        first, *rules = text.split(";")
        match = _GRAMMAR.fullmatch(first.strip().lower())
        if match is None:
            raise UsageError(
                f"bits {shortened(first)!r} not understood: expected w<weights>a<activations>[s<attention>], for example "
                f"w4a8 or w8a8s4, then rules for single sites: 'w4a8; blocks.*.attn=w8a8; head=w8'."
                f"{nearest(shortened(first.lower()), _COMMON)}"
            )
        weight, activation, attention = match.groups()
        given = rules[:-1] if rules and not rules[-1].strip() else rules  # a semicolon at the end is no rule
        return cls(int(weight), int(activation), int(attention) if attention else None, parse_rules(given))

    def __str__(self) -> str:
        return ";".join([self._uniform, *map(str, self.effective)])

    @property
    def _uniform(self) -> str:
        return f"w{self.weight}a{self.activation}" + (f"s{self.attention}" if self.attention is not None else "")

    @cached_property
    def effective(self) -> tuple[BitRule, ...]:
        """The rules without the first ones that only say what holds everywhere."""
        start = next((at for at, rule in enumerate(self.rules) if _applied(self, rule) != self), len(self.rules))
        return self.rules[start:]

    def at(self, site: Addressed) -> Bits:
        """The widths that hold at one site, without rules."""
        found = self
        for rule in self.effective:
            if rule.pattern.matches(site):
                found = _applied(found, rule)
        return found if found is not self or not self.rules else self.base

    def names(self, site: Addressed) -> bool:
        """Whether a rule gives this very site the width of an activation, by its name and not by a wider pattern."""
        known = (site.name, address_of(site))
        named = (rule for rule in self.rules if str(rule.pattern) in known or rule.pattern.operation == INPUT)
        return any(rule.activation is not None and rule.pattern.matches(site) for rule in named)

    @property
    def softmax(self) -> int:
        """Width of attention probabilities."""
        return self.activation if self.attention is None else self.attention

    @property
    def base(self) -> Bits:
        """The widths that hold where no rule says otherwise."""
        return replace(self, rules=())

    @property
    def uniform(self) -> bool:
        """Whether the same widths hold at every site."""
        return not self.effective

    @property
    def full_precision(self) -> bool:
        """Whether nothing is quantized."""
        here = self.weight == self.activation == self.softmax == FULL
        return here and all({rule.weight, rule.activation, rule.attention} <= {None, FULL} for rule in self.rules)


def _applied(bits: Bits, rule: BitRule) -> Bits:
    """Widths after one more rule; those that a rule leaves out stay."""
    weight = bits.weight if rule.weight is None else rule.weight
    activation = bits.activation if rule.activation is None else rule.activation
    attention = None if rule.every else bits.attention if rule.attention is None else rule.attention
    if (weight, activation, attention) == (bits.weight, bits.activation, bits.attention):
        return bits
    return Bits(weight, activation, attention)
