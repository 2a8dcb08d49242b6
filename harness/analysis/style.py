"""How pictures look, and how they are written: SVG and PNG, the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.text import inert

FORMATS: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "png": {"Software": None}}
DPI = 110
FONT = 7.5  # points
FULL, QUANTIZED, OTHER, GREY = "#4477aa", "#b35806", "#1b7837", "#8c8c8c"
WIDTH = 9.0  # inches
Write = Callable[[str, Callable[[Path], Any]], Path]


def panels(rows: int, columns: int, size: tuple[float, float], title: str) -> tuple[Figure, list[list[Axes]]]:
    """A figure of ``rows`` times ``columns`` panels with a title.

    Args:
        rows: Of panels.
        columns: Of panels.
        size: Width and height in inches.
        title: Above all of them.
    """
    figure = Figure(figsize=size, layout="constrained")
    found: list[list[Axes]] = figure.subplots(rows, columns, squeeze=False).tolist()
    figure.suptitle(inert(title), fontsize=FONT + 1.5, weight="bold", x=0.01, ha="left", parse_math=False)
    for axes in (one for row in found for one in row):
        plain(axes)
    return figure, found


def plain(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Small text, no frame above and to the right."""
    axes.tick_params(labelsize=FONT - 1)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if title:
        axes.set_title(inert(title), fontsize=FONT, loc="left", parse_math=False)
    if x:
        axes.set_xlabel(x, fontsize=FONT)
    if y:
        axes.set_ylabel(y, fontsize=FONT)


def empty(axes: Axes, words: str) -> None:
    """A panel without data says why."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, words, ha="center", va="center", fontsize=FONT, color=GREY, transform=axes.transAxes, wrap=True)


def write_figure(figure: Figure, name: str, write: Write, formats: Sequence[str] = tuple(FORMATS)) -> list[Path]:
    """Write a figure in all formats.

    Args:
        figure: The picture.
        name: Of the files, without ending.
        write: Writes one file of a name.
        formats: Of ``FORMATS``.
    """
    written = []
    with rc_context({"svg.hashsalt": "harness", "svg.fonttype": "none"}):
        for form in formats:
            written.append(write(f"{name}.{form}", partial(figure.savefig, format=form, dpi=DPI, metadata=FORMATS[form])))
    return written
