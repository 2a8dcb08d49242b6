"""The Pareto front as a picture: SVG and PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from harness.leaderboard.published.numbers import PublishedRuntime
from harness.leaderboard.render.folder import ReportFolder
from harness.leaderboard.stats.pareto import Standing
from harness.text import inert

COLOURS = {"front": "#1b7837", "undecided": "#b8860b", "dominated": "#888888"}
AXES = {
    "seconds": "time of the stack, seconds",
    "size_bytes": "model size, bytes",
    "bit_operations": "bit-operations per image",
}


def pareto_figure(
    title: str,
    standings: Sequence[Standing],
    axis: str,
    hardware: str,
    full_precision: float,
    published: Sequence[tuple[PublishedRuntime, float]] = (),
) -> Figure:
    """Cost against accuracy with the front, and published points of other hardware beside it.

    Args:
        title: Of the picture.
        standings: Points measured here, all on one hardware.
        axis: ``seconds``, ``size_bytes`` or ``bit_operations``.
        hardware: Of the points measured here.
        full_precision: Accuracy of the network itself; drawn as a line.
        published: Published runtimes with their accuracy; drawn hollow, never part of the front.
    """
    figure = Figure(figsize=(8.5, 5.2), layout="constrained")
    axes: Axes = figure.add_subplot()
    for status, colour in COLOURS.items():
        _scatter(axes, [one for one in standings if one.status == status], status, colour)
    _front_line(axes, standings)
    axes.axhline(full_precision, color="#4477aa", lw=0.8, ls="--", label="full precision")
    for runtime, top1 in published:
        axes.plot(runtime.minutes * 60, top1, marker="s", mfc="none", mec="#4477aa", ls="none")
        axes.annotate(f"{runtime.method} ({runtime.hardware}, published)", (runtime.minutes * 60, top1), fontsize=6)
    if axis == "seconds":
        axes.set_xscale("log")
    axes.set_xlabel(inert(AXES[axis] + (f" ({hardware})" if axis == "seconds" else "")), parse_math=False)
    axes.set_ylabel("top-1, %")
    axes.set_title(inert(title), fontsize=10, parse_math=False)
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=8, loc="lower right")
    axes.margins(x=0.25, y=0.16)
    _label(figure, axes, standings)
    return figure


def _scatter(axes: Axes, points: Sequence[Standing], status: str, colour: str) -> None:
    if not points:
        return
    cost = [float(np.mean(one.point.cost)) for one in points]
    top1 = [float(np.mean(one.point.top1)) for one in points]
    spread = [_deviation(one.point.top1) for one in points]
    # Lowest and highest cost rather than a deviation, which on a logarithmic axis may reach below zero.
    lowest = [value - min(one.point.cost) for value, one in zip(cost, points, strict=True)]
    highest = [max(one.point.cost) - value for value, one in zip(cost, points, strict=True)]
    style: dict[str, Any] = {"fmt": "o", "color": colour, "ms": 6, "capsize": 2, "lw": 0.8, "label": status, "zorder": 3}
    axes.errorbar(cost, top1, yerr=spread, xerr=[lowest, highest], **style)


def _deviation(values: tuple[float, ...]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _front_line(axes: Axes, standings: Sequence[Standing]) -> None:
    front = sorted((float(np.mean(one.point.cost)), float(np.mean(one.point.top1))) for one in standings if one.on_front)
    if len(front) > 1:
        cost, top1 = zip(*front, strict=True)
        axes.step(cost, top1, where="post", color=COLOURS["front"], lw=1, alpha=0.6, zorder=2)


# Where a label may stand beside its point: offset in points, alignments. The first place that is free is taken.
PLACES = [(4, 7, "left", "bottom"), (4, -7, "left", "top"), (-4, 7, "right", "bottom"), (-4, -7, "right", "top")]
PLACES += [(6, 18, "left", "bottom"), (6, -18, "left", "top"), (-6, 18, "right", "bottom"), (-6, -18, "right", "top")]


def _label(figure: Figure, axes: Axes, standings: Sequence[Standing]) -> None:
    """Labels beside the points, without overlaps where there is room."""
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]  # sizes are known once it is drawn
    taken: list[Bbox] = []
    for one in sorted(standings, key=lambda one: -float(np.mean(one.point.top1))):
        place = float(np.mean(one.point.cost)), float(np.mean(one.point.top1))
        if not all(map(math.isfinite, place)):
            continue
        for number, (x, y, horizontal, vertical) in enumerate(PLACES):
            label = axes.annotate(
                inert(shortened(one.point.label)),
                place,
                xytext=(x, y),
                textcoords="offset points",
                fontsize=7,
                ha=horizontal,
                va=vertical,
                parse_math=False,
            )
            box = label.get_window_extent()
            if number == len(PLACES) - 1 or not (box.count_overlaps(taken) or _outside(box, axes)):
                taken.append(box)
                break
            label.remove()


def _outside(box: Bbox, axes: Axes) -> bool:
    frame = axes.get_window_extent()
    return bool(box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1)


def shortened(label: str, most: int = 44) -> str:
    """A long stack without its middle."""
    return label if len(label) <= most else f"{label[: most // 2]}…{label[-most // 2 + 1 :]}"


def save(figure: Figure, name: str, folder: ReportFolder) -> list[Path]:
    """Write the picture with .svg and .png added to its name; the same records give the same bytes.

    Args:
        figure: The picture.
        name: Without its ending.
        folder: Where.
    """
    written = []
    with rc_context({"svg.hashsalt": "harness", "svg.fonttype": "none"}):
        for form, about in (("svg", {"Date": None}), ("png", {"Software": None})):
            fill = partial(figure.savefig, format=form, dpi=140, metadata=about)
            written.append(folder.write(f"{name}.{form}", fill))
    return written
