"""Overrides of a network's preprocessing as text: ``crop_pct=0.875``, ``mean=0.5,0.5,0.5``. Read before any work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from harness.errors import UsageError, nearest

INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming")
RECIPES = ("timm", "paper")
CROP_MODES = ("center", "squash", "border")
SMALLEST_CROP = 0.01
LARGEST_SHIFT = 1000.0  # of pixels that lie between 0 and 1; beyond, float32 has nothing left of them
SMALLEST_DEVIATION = 1e-6


def read_overrides(given: Mapping[str, str]) -> dict[str, Any]:
    """The values of overrides by name.

    Raises:
        UsageError: A name is unknown, or a value is not understood, not finite or out of range.
    """
    return {name: _read(name, text) for name, text in given.items()}


def _read(name: str, text: str) -> Any:
    if name not in READERS:
        raise UsageError(f"unknown preprocessing {name!r}.{nearest(name, READERS)} Expected one of {', '.join(READERS)}")
    try:
        return READERS[name](text)
    except ValueError as error:
        raise UsageError(f"preprocessing {name}={text!r} is not valid: {error}") from error


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}.{nearest(text, choices)}")
        return text

    return read


def _fraction(text: str) -> float:
    return _between(text, SMALLEST_CROP, 1.0)


def _mean(text: str) -> tuple[float, ...]:
    return tuple(_between(part, -LARGEST_SHIFT, LARGEST_SHIFT) for part in _parts(text))


def _std(text: str) -> tuple[float, ...]:
    return tuple(_between(part, SMALLEST_DEVIATION, LARGEST_SHIFT) for part in _parts(text))


def _parts(text: str) -> list[str]:
    parts = text.replace("/", " ").replace(",", " ").split()
    if not parts:
        raise ValueError("expected one number per channel, for example 0.485,0.456,0.406")
    return parts


def _between(text: str, least: float, most: float) -> float:
    expected = f"expected a number from {least:g} to {most:g}"
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number, {expected}") from None
    if not math.isfinite(value) or not least <= value <= most:
        raise ValueError(expected)
    return value


READERS: Mapping[str, Callable[[str], Any]] = {
    "recipe": _one_of(RECIPES),
    "crop_pct": _fraction,
    "interpolation": _one_of(INTERPOLATIONS),
    "mean": _mean,
    "std": _std,
    "crop_mode": _one_of(CROP_MODES),
}
