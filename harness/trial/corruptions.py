"""Corruptions of evaluation images as text: ``gaussian_noise:3,fog:2``. Read before any work, without their library.

Names and severities are those of ImageNet-C (Hendrycks and Dietterich, ICLR 2019).
"""

from __future__ import annotations

from typing import NamedTuple

from harness.errors import UsageError, nearest
from harness.text import shortened

COMMON = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")  # ImageNet-C's, held out for validation there
NAMES = (*COMMON, *EXTRA)
ALL = "common"  # stands for the fifteen that ImageNet-C's mean is over
SEVERITIES = ("1", "2", "3", "4", "5")


class Corruption(NamedTuple):
    """One corruption.

    Attributes:
        name: One of ``NAMES``.
        severity: 1 to 5.
    """

    name: str
    severity: int

    def __str__(self) -> str:
        return f"{self.name}:{self.severity}"


def read_corruptions(text: str) -> tuple[Corruption, ...]:
    """The corruptions of a list, in the order of ImageNet-C, each once.

    Args:
        text: ``name:severity`` joined by commas or ``+`` (in a sweep, where commas separate values); ``common:3`` is all
            fifteen common ones.

    Raises:
        UsageError: A name or severity is unknown, or there is none.
    """
    found = {one for part in text.replace("+", ",").split(",") for one in _read(part.strip())}
    return tuple(sorted(found, key=lambda one: (NAMES.index(one.name), one.severity)))


def canonical(text: str) -> str:
    """The same corruptions as every record writes them."""
    return ",".join(map(str, read_corruptions(text)))


def _read(part: str) -> list[Corruption]:
    name, colon, severity = (piece.strip() for piece in part.partition(":"))
    if name not in (*NAMES, ALL):
        near = nearest(name, (*NAMES, ALL))
        raise UsageError(f"unknown corruption {shortened(name)!r}.{near} Expected {ALL} or one of {', '.join(NAMES)}")
    if severity not in SEVERITIES:
        given = shortened(severity) if colon else ""
        raise UsageError(
            f"severity {given!r} of corruption {name} is not possible: expected 1 to 5", f"for example {name}:3"
        )
    return [Corruption(one, int(severity)) for one in (COMMON if name == ALL else (name,))]
