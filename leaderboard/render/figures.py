"""The Pareto front as a picture: numbered points, a key beside them, and an axis that is cropped to what is compared.

Points of one network at one or several bit-widths. Colour says where a point stands, shape its bit-width. A number stands
beside its point where it covers no marker and no other number; a thin line leads to it where that is further away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from harness.leaderboard.published.numbers import PublishedRuntime
from harness.leaderboard.render import names
from harness.leaderboard.render.folder import ReportFolder
from harness.leaderboard.render.placing import NOTE, place_numbers
from harness.leaderboard.stats.pareto import Standing
from harness.text import inert

STATUS = {"front": "on the front", "undecided": "undecided", "dominated": "dominated"}
COLOURS = {"front": "#1b7837", "undecided": "#b35806", "dominated": "#8c8c8c"}
PUBLISHED = "#4477aa"
SHAPES = "osD^vPX*<>"
SIZE = (7.0, 3.9)  # inches: the width of two columns, or of a README
FONT = 7.5  # points
MOST_NUMBERS = 26  # more lines of a key would not fit beside the picture
NARROWEST = 0.5  # points of top-1 that the axis shows at least
GAP = 3.0  # times the height of all points above it, one point of top-1 at least: what lies below such a gap is at the edge
DPI = 160
DASHES = (0, (4, 3))
METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


@dataclass(frozen=True)
class Cost:
    """An axis of costs.

    Attributes:
        label: With its unit.
        unit: What one of the record's units is on the axis.
        logarithmic: Whether the axis is.
    """

    label: str
    unit: float
    logarithmic: bool = False


COSTS = {
    "seconds": Cost("time to quantize, s", 1.0, logarithmic=True),
    "size_bytes": Cost("model size, MB", 1e6),
    "bit_operations": Cost("work per image, G bit-operations", 1e9),
    "latency": Cost("latency, x float32", 1.0),
    "disk_bytes": Cost("file on disk, MB", 1e6),
}


@dataclass(frozen=True)
class Shown:
    """A point of the picture.

    Attributes:
        name: In the key.
        x: Cost on the axis.
        y: Top-1 in percent.
        shape: matplotlib's marker.
        standing: Where it stands; None for published points.
        number: Text beside the marker and in the key; empty for points that are not numbered.
    """

    name: str
    x: float
    y: float
    shape: str
    standing: Standing | None
    number: str = ""

    @property
    def colour(self) -> str:
        """By where it stands."""
        return PUBLISHED if self.standing is None else COLOURS[self.standing.status]

    @property
    def hollow(self) -> bool:
        """Undecided and published points are."""
        return self.standing is None or self.standing.status == "undecided"

    @property
    def size(self) -> float:
        """Of its marker in points; what has no number is small."""
        return 5.0 if self.number else 3.0


def pareto_figure(
    title: str,
    standings: Sequence[tuple[str, Standing]],
    axis: str,
    hardware: str,
    full_precision: float,
    published: Sequence[tuple[PublishedRuntime, float]] = (),
) -> Figure:
    """Cost against accuracy.

    Args:
        title: Of the picture.
        standings: Bit-width and standing of points measured here, all on one hardware.
        axis: One of ``COSTS``.
        hardware: Of the points measured here; for the axis.
        full_precision: Accuracy of the network itself in percent.
        published: Published runtimes with their accuracy; drawn hollow, never part of the front.
    """
    cost = COSTS[axis]
    shown = [*_numbered(_points(standings, cost)), *_lettered(published)]
    figure = Figure(figsize=SIZE)
    axes: Axes = figure.add_axes((0.085, 0.115, 0.48, 0.8))
    _scale(axes, cost, shown)
    low, high = _limits(shown, full_precision)
    axes.set_ylim(low, high)
    for point in shown:
        _draw(axes, point, cost, low, high)
    _front_line(axes, shown)
    line = _full_precision(axes, full_precision, low, high)
    _words(axes, cost.label + (f" ({hardware})" if hardware else ""))
    figure.text(0.01, 0.985, inert(title), fontsize=FONT, va="top", weight="bold", parse_math=False)
    _key(figure, _key_lines(shown), line)
    place_numbers(axes, [(one.number, one.x, min(max(one.y, low), high), one.size, one.colour) for one in shown])
    return figure


def _points(standings: Sequence[tuple[str, Standing]], cost: Cost) -> list[Shown]:
    shapes = dict(zip(dict.fromkeys(bits for bits, _ in standings), SHAPES * len(standings), strict=False))
    several = len(shapes) > 1
    short = names.stacks(list(dict.fromkeys(one.point.label for _, one in standings)))
    found = [
        Shown(
            f"{bits} {short[one.point.label]}" if several else short[one.point.label],
            float(np.mean(one.point.cost)) / cost.unit,
            float(np.mean(one.point.top1)),
            shapes[bits],
            one,
        )
        for bits, one in standings
    ]
    return [one for one in found if math.isfinite(one.x) and math.isfinite(one.y) and not (cost.logarithmic and one.x <= 0)]


def _numbered(points: list[Shown]) -> list[Shown]:
    """Front first, then undecided, then dominated, each by cost; what the key has no room for stays without a number."""
    points = sorted(points, key=lambda one: (_rank(one), -one.y))
    kept, rest = points[:MOST_NUMBERS], points[MOST_NUMBERS:]
    if rest:  # a crowd: those that nobody would choose are dots
        rest += [one for one in kept if _rank(one) == len(STATUS) - 1]
        kept = [one for one in kept if _rank(one) < len(STATUS) - 1]
    kept.sort(key=lambda one: (_rank(one), one.x, -one.y))
    return [replace(one, number=str(number)) for number, one in enumerate(kept, start=1)] + rest


def _rank(one: Shown) -> int:
    return len(STATUS) if one.standing is None else list(STATUS).index(one.standing.status)


def _lettered(published: Sequence[tuple[PublishedRuntime, float]]) -> list[Shown]:
    return [
        Shown(f"{one.method} ({one.hardware}, published)", one.minutes * 60, top1, "s", None, chr(ord("a") + index))
        for index, (one, top1) in enumerate(published[:MOST_NUMBERS])
    ]


def _lowest(values: Sequence[float]) -> float:
    """The lowest value of a bit-width that is shown in its place: fewer than half, below a wide gap, have collapsed."""
    ordered = sorted(values, reverse=True)
    for index in range((len(ordered) + 1) // 2, len(ordered)):
        if ordered[index - 1] - ordered[index] > GAP * max(ordered[0] - ordered[index - 1], 1.0):
            return ordered[index - 1]
    return ordered[-1]


def _limits(shown: Sequence[Shown], full_precision: float) -> tuple[float, float]:
    """Of the accuracy axis: all points that have not collapsed, and room for a note of full precision."""
    by_bits: dict[str, list[float]] = {}
    for point in shown:
        if point.standing is not None:
            by_bits.setdefault(point.shape, []).append(point.y)
    lowest = min(map(_lowest, by_bits.values()), default=full_precision)
    near = [lowest, *(point.y for point in shown if point.y >= lowest)]
    low, high = min(near), max(near)
    room = max(high - low, NARROWEST)
    low, high = low - 0.09 * room, high + 0.09 * room
    if low <= full_precision <= high:
        return low, high
    return (low, high + 0.07 * room) if full_precision > high else (low - 0.07 * room, high)


def _scale(axes: Axes, cost: Cost, shown: Sequence[Shown]) -> None:
    """The cost axis: from the cheapest to the dearest with some room, plain numbers on it."""
    ends = [cost_end for point in shown for cost_end in (_ends(point, cost) or (point.x, point.x))]
    low, high = (min(ends), max(ends)) if ends else (1.0, 2.0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if not cost.logarithmic:
        room = max(high - low, 0.02 * high, 1e-9)
        axes.set_xlim(low - 0.1 * room, high + 0.1 * room)
        return
    axes.set_xscale("log")
    steps = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(low / 1.3, high * 1.3)


def _ends(point: Shown, cost: Cost) -> tuple[float, float] | None:
    """Lowest and highest cost over seeds: a deviation may reach below zero on a logarithmic axis."""
    if point.standing is None:
        return None
    costs = [value / cost.unit for value in point.standing.point.cost if math.isfinite(value) and value > 0]
    return (min(costs), max(costs)) if costs else None


def _draw(axes: Axes, point: Shown, cost: Cost, low: float, high: float) -> None:
    if not low <= point.y <= high:
        edge, arrow = (low, "v") if point.y < low else (high, "^")
        axes.plot(point.x, edge, marker=arrow, ms=5, color=point.colour, clip_on=False)
        return
    ends = _ends(point, cost) if point.number else None
    if point.standing is not None and ends is not None:
        spread = _deviation(point.standing.point.top1)
        costs = [[point.x - ends[0]], [ends[1] - point.x]]
        axes.errorbar(point.x, point.y, yerr=spread, xerr=costs, fmt="none", ecolor=point.colour, elinewidth=0.6, alpha=0.55)
    face = "white" if point.hollow else point.colour
    style: dict[str, Any] = {"mew": 1.1, "zorder": 4} if point.number else {"mew": 0.0, "zorder": 3, "alpha": 0.6}
    axes.plot(point.x, point.y, marker=point.shape, ms=point.size, mfc=face, mec=point.colour, ls="none", **style)


def _deviation(values: tuple[float, ...]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _front_line(axes: Axes, shown: Sequence[Shown]) -> None:
    """Steps between the points that are proven to be on the front; fewer than two make no line."""
    front = sorted((one.x, one.y) for one in shown if one.standing is not None and one.standing.status == "front")
    if len(front) > 1:
        cost, top1 = zip(*front, strict=True)
        axes.step(cost, top1, where="post", color=COLOURS["front"], lw=1, alpha=0.6, zorder=2)


def _full_precision(axes: Axes, value: float, low: float, high: float) -> str:
    """A line where the axis reaches it, else a note at the edge, where no point is; returns the key's words for the line."""
    note = f"full precision {value:.2f} %"
    if low <= value <= high:
        axes.axhline(value, color=PUBLISHED, lw=0.8, ls=DASHES, zorder=1)
        return note
    above = value > high
    style: dict[str, Any] = {"ha": "right", "va": "top" if above else "bottom", "fontsize": FONT - 0.5, "color": PUBLISHED}
    where = "above" if above else "below"
    axes.text(0.995, 0.995 if above else 0.005, f"{note}, {where} this axis", transform=axes.transAxes, gid=NOTE, **style)
    return ""


def _words(axes: Axes, cost: str) -> None:
    axes.set_xlabel(inert(cost), fontsize=FONT + 0.5, parse_math=False)
    axes.set_ylabel("top-1, %", fontsize=FONT + 0.5)
    axes.tick_params(labelsize=FONT)
    axes.grid(alpha=0.25, lw=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


class Line(NamedTuple):
    """A line of the key: a point's number and name, or a heading without them."""

    words: str
    colour: str
    number: str = ""
    shape: str = ""
    hollow: bool = False


def _key(figure: Figure, lines: Sequence[Line], full_precision: str) -> None:
    """Numbers and names beside the picture, by standing; below them what the line is."""
    axes = figure.add_axes((0.585, 0.02, 0.415, 0.93))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    step = 1 / max(25, len(lines) + 2)
    for index, line in enumerate(lines):
        y = 1 - step * (index + 0.5)
        style: dict[str, Any] = {"fontsize": FONT - 0.5, "va": "center", "parse_math": False}
        if line.shape:
            face = "white" if line.hollow else line.colour
            axes.plot(0.08, y, marker=line.shape, ms=4, mfc=face, mec=line.colour, mew=1, ls="none")
            axes.text(0.055, y, line.number, ha="right", color=line.colour, **style)
        axes.text(0.11 if line.shape else 0.0, y, line.words, color="black" if line.shape else line.colour, **style)
    if full_precision:
        y = 1 - step * (len(lines) + 0.5)
        axes.plot((0.0, 0.08), (y, y), color=PUBLISHED, lw=0.8, ls=DASHES)
        axes.text(0.11, y, full_precision, color=PUBLISHED, fontsize=FONT - 0.5, va="center")


def _key_lines(shown: Sequence[Shown]) -> list[Line]:
    lines: list[Line] = []
    for status, name in STATUS.items():
        here = [point for point in shown if point.standing is not None and point.standing.status == status]
        if here or status == "front":
            lines.append(Line(name if here else "none is proven to be on the front", COLOURS[status]))
        lines += [_key_line(one) for one in here if one.number]
        rest = sum(not one.number for one in here)
        lines += [Line(f"{rest} points without numbers", COLOURS[status])] if rest else []
    others = [_key_line(one) for one in shown if one.standing is None]
    lines += [Line("published, other hardware and images", PUBLISHED), *others] if others else []
    if any(_deviation(one.standing.point.top1) for one in shown if one.standing is not None):
        lines.append(Line("bars: deviation of top-1 and range of costs, over seeds", COLOURS["dominated"]))
    return lines


def _key_line(one: Shown) -> Line:
    return Line(shortened(inert(one.name)), one.colour, one.number, one.shape, one.hollow)


def shortened(label: str, most: int = 42) -> str:
    """A long stack without its middle."""
    return label if len(label) <= most else f"{label[: most // 2]}…{label[-most // 2 + 1 :]}"


def save(figure: Figure, name: str, folder: ReportFolder, formats: Sequence[str]) -> list[Path]:
    """Write the picture with the format added to its name; the same records give the same bytes.

    Args:
        figure: The picture.
        name: Without its ending.
        folder: Where.
        formats: Of ``METADATA``.
    """
    written = []
    with rc_context({"svg.hashsalt": "harness", "svg.fonttype": "none", "pdf.fonttype": 42}):
        for form in formats:
            fill = partial(figure.savefig, format=form, dpi=DPI, metadata=METADATA[form])
            written.append(folder.write(f"{name}.{form}", fill))
    return written
