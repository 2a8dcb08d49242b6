"""Whether integer arithmetic can compute with a tensor of some number format, and what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SCALE_BYTES, ZERO_POINT_BYTES = 4, 1


class Grid(StrEnum):
    """How a quantized tensor is realised in integer arithmetic."""

    INTEGER = "integer"
    FOLDED = "integer after folding"
    NONE = "not realisable"


@dataclass(frozen=True)
class Realisation:
    """The answer for one tensor.

    Attributes:
        grid: How.
        reason: Why it is not simply ``(q - z) s``; empty where it is.
    """

    grid: Grid
    reason: str = ""


INTEGER = Realisation(Grid.INTEGER)
CORRECTED = Realisation(
    Grid.FOLDED,
    "bias correction: the gain folds into the scale, the offset is one number per channel times the sum over the input",
)
FRACTIONAL = Realisation(
    Grid.FOLDED, "fractional zero points: their product with the other operand's sums is added after the integer product"
)
ROOTS = Realisation(Grid.FOLDED, "powers of the root of two: sums of even and of odd codes apart, one factor for each")
TABLE = Realisation(
    Grid.FOLDED, "powers of a fitted base: a shift and a table of fixed-point numbers, the offset times a sum"
)
SHIFTS = Realisation(Grid.INTEGER, "powers of two: its own code, products are shifts")
SHIFTED = Realisation(Grid.FOLDED, "powers of two less a constant: products are shifts, the constant times a sum")
BETWEEN = Realisation(Grid.NONE, "weights lie between the codes of their format")
UNEVEN = Realisation(Grid.NONE, "channel scales are no powers of two apart")
MANY = Realisation(Grid.NONE, "more different values than codes")


def unknown(name: str) -> Realisation:
    """For a format that does not say how integers compute it."""
    return Realisation(Grid.NONE, f"{name}: not integer codes times a scale")
