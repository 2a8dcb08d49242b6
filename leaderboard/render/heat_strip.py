"""A network in depth: how the error adds up over its segments, and which kinds of tensors cost most where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.leaderboard.render.figures import DPI, FONT, METADATA
from harness.text import inert

WIDTH, ROW = 7.0, 0.2  # inches
LEAST_DB = 0.1  # a picture of nothing must not look like one of something


@dataclass(frozen=True)
class HeatStrip:
    """What is drawn.

    Attributes:
        title: One line.
        columns: Names of segments in order.
        rows: Names of tensor classes, the worst first.
        cells: Gain in dB by row and column; None of it where there is no such tensor.
        accumulated: Error after each segment in the quantized network, in dB below the values.
        own: Likewise of the segment alone.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[str]
    cells: Mapping[tuple[str, str], float]
    accumulated: Sequence[float]
    own: Sequence[float]


def draw(strip: HeatStrip, path: Path, form: str) -> None:
    """Draw a strip into a file.

    Args:
        strip: The network.
        path: The file.
        form: ``svg``, ``pdf`` or ``png``.
    """
    height = 2.2 + ROW * len(strip.rows)
    with rc_context({"font.size": FONT, "svg.hashsalt": "harness", "svg.fonttype": "none"}):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.3, max(ROW * len(strip.rows), 0.4)])
        _noise(above, strip)
        _heat(figure, below, strip)
        figure.suptitle(inert(strip.title), fontsize=FONT + 1)
        figure.savefig(path, format=form, dpi=DPI, metadata=METADATA[form])


def _noise(axes: Axes, strip: HeatStrip) -> None:
    places = range(len(strip.columns))
    axes.plot(places, strip.accumulated, color="#b2182b", marker="o", markersize=3, label="accumulated")
    axes.plot(places, strip.own, color="#4477aa", marker="s", markersize=3, linestyle="--", label="the segment's own")
    axes.set_ylabel("SQNR after it, dB")
    axes.grid(axis="y", color="#dddddd", linewidth=0.5)
    axes.legend(frameon=False)


def _heat(figure: Figure, axes: Axes, strip: HeatStrip) -> None:
    values = np.array([[strip.cells.get((row, column), np.nan) for column in strip.columns] for row in strip.rows])
    finite = values[np.isfinite(values)]
    top = max(float(finite.max()), LEAST_DB) if finite.size else LEAST_DB
    image = axes.imshow(np.ma.masked_invalid(values), aspect="auto", cmap="Reds", vmin=0, vmax=top)
    axes.set_yticks(range(len(strip.rows)), [inert(row) for row in strip.rows])
    axes.set_xticks(range(len(strip.columns)), [inert(column) for column in strip.columns], rotation=60, ha="right")
    axes.set_facecolor("#eeeeee")
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.colorbar(image, ax=axes, label="gain without it, dB", pad=0.01)
