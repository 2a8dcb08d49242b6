"""Pictures of accuracy over what trials differ in."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.analysis.curves import AXES, LABELS
from harness.analysis.style import FULL, GREY, OTHER, QUANTIZED, WIDTH, empty, panels, plain

MOST_TICKS = 8
MANY = 10.0  # times: from there on an axis is logarithmic


def accuracy_figure(found: pd.DataFrame, title: str) -> Figure:
    """One panel per axis: every record with its 95 % interval over the images, and means over the seeds.

    Args:
        found: Of ``harness.analysis.curves.accuracy_over``.
        title: Of the picture.
    """
    figure, (row,) = panels(1, len(AXES), (WIDTH, 2.7), title)
    for axes, axis in zip(row, AXES, strict=True):
        part = found[found["axis"] == axis]
        if part["value"].nunique() < 2:
            empty(axes, f"one value of\n{LABELS[axis]}\nin this store")
            continue
        _points(axes, part, axis)
        plain(axes, x=LABELS[axis], y="top-1, %" if axes is row[0] else "")
    return figure


def _points(axes: Axes, part: pd.DataFrame, axis: str) -> None:
    half = [
        1.96 * 100 * math.sqrt(max(p * (1 - p), 1 / n) / n)
        for p, n in zip(part["top1"] / 100, part["n_images"], strict=True)
    ]
    axes.errorbar(part["value"], part["top1"], yerr=half, fmt="o", ms=3, color=GREY, ecolor=GREY, elinewidth=0.6, alpha=0.7)
    if axis != "seed":  # seeds have no order
        mean = part.groupby("value")["top1"].mean()
        axes.plot(mean.index, mean, color=QUANTIZED, lw=1.3)
    axes.axhline(float(part["top1_fp32"].iloc[0]), color=FULL, lw=0.8, ls=(0, (4, 3)))
    values = sorted({int(value) for value in part["value"]})
    if values[0] > 0 and values[-1] / values[0] > MANY:
        axes.set_xscale("log")
    if len(values) <= MOST_TICKS:
        axes.set_xticks(values, [str(value) for value in values])
        axes.set_xticks([], minor=True)


def search_figure(found: pd.DataFrame, title: str) -> Figure:
    """One panel per curve that the trial's searches noted."""
    curves = list(dict.fromkeys(zip(found["stage"], found["curve"], strict=True)))
    figure, (row,) = panels(1, max(len(curves), 1), (WIDTH, 2.5), title)
    for axes, (stage, curve) in zip(row, curves, strict=False):
        part = found[(found["stage"] == stage) & (found["curve"] == curve)]
        axes.plot(part["pass"], part["value"], "o-", ms=3, color=OTHER, lw=1.2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.ticklabel_format(axis="y", useOffset=False)
        plain(axes, f"{stage}: {str(curve).replace('_', ' ')}", x="pass")
    return figure
