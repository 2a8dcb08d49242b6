"""Bit-widths of a trial: weights, activations, attention probabilities (``w4a8``, ``w8a8s4``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.errors import UsageError, nearest
from harness.text import shortened

FULL, NARROWEST = 32, 2
_GRAMMAR = re.compile(r"w(\d{1,9})a(\d{1,9})(?:s(\d{1,9}))?")  # longer numbers are slow to read, and none of them is a width
_COMMON = ("w8a8", "w6a8", "w4a8", "w3a8", "w2a8", "w6a6", "w4a6", "w4a4", "w3a3", "w8a8s4", "w4a8s4", "w32a32")


@dataclass(frozen=True)
class Bits:
    """Widths of one trial.

    Attributes:
        weight: Weights: 2 to 8, or 32 for full precision.
        activation: Activations: 2 to 8, or 32.
        attention: Attention probabilities (the softmax's output): 2 to 8 or 32; None means as activations.

    Raises:
        UsageError: A width outside these ranges.
    """

    weight: int
    activation: int
    attention: int | None = None

    def __post_init__(self) -> None:
        for name in ("weight", "activation", "attention"):
            width = getattr(self, name)
            if width is not None and width != FULL and not NARROWEST <= width <= 8:
                raise UsageError(
                    f"{name} bits {width} are not possible: expected {NARROWEST} to 8, or {FULL} for full precision"
                )

    @classmethod
    def parse(cls, text: str) -> Bits:
        """Read ``w4a8`` or ``w8a8s4`` (s: attention probabilities).

        Raises:
            UsageError: The text does not follow the grammar, or a width is out of range.
        """
        match = _GRAMMAR.fullmatch(text.strip().lower())
        if match is None:
            raise UsageError(
                f"bits {shortened(text)!r} not understood: expected w<weights>a<activations>[s<attention>], for example "
                f"w4a8 or w8a8s4.{nearest(shortened(text.lower()), _COMMON)}"
            )
        weight, activation, attention = match.groups()
        return cls(int(weight), int(activation), int(attention) if attention else None)

    def __str__(self) -> str:
        return f"w{self.weight}a{self.activation}" + (f"s{self.attention}" if self.attention is not None else "")

    @property
    def softmax(self) -> int:
        """Width of attention probabilities."""
        return self.activation if self.attention is None else self.attention

    @property
    def full_precision(self) -> bool:
        """Whether nothing is quantized."""
        return self.weight == self.activation == self.softmax == FULL
