"""Where numbers stand beside their points: near, and never on a marker, a note or another number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

FONT = 7.0  # points
AIR = 1.0  # points between a number and a marker
NOTE = "note"  # gid of texts that numbers keep away from
RINGS = (8, 11, 15, 20, 26, 33, 41, 50, 60, 72, 85, 100)  # distances in points that are tried, the nearest first
ANGLES = 16
LEAD = 12  # from this distance a line leads to the point


def place_numbers(axes: Axes, points: Sequence[tuple[str, float, float, float, str]]) -> list[Bbox]:
    """Write the numbers; returns the boxes that they take, in pixels.

    Args:
        axes: Where the points are drawn, otherwise complete.
        points: Number, place in data coordinates, size of the marker in points, colour; points without a number are
            obstacles only.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]  # sizes are known once it is drawn
    scale = figure.dpi / 72
    taken = [note.get_window_extent() for note in axes.texts if note.get_gid() == NOTE]
    for _, x, y, size, _ in points:
        half = (size / 2 + AIR) * scale
        left, up = axes.transData.transform((x, y))
        taken.append(_box(left, up, half, half))
    written: list[Bbox] = []
    for number, x, y, _, colour in points:
        if number:
            dx, dy, box = _free(axes, (x, y), len(number), [*taken, *written], scale)
            written.append(box)
            _write(axes, number, (x, y), (dx, dy), colour)
    return written


def _free(
    axes: Axes, point: tuple[float, float], characters: int, taken: Sequence[Bbox], scale: float
) -> tuple[float, float, Bbox]:
    """Offset in points and box of the nearest place that covers nothing; where there is none, of one that covers least."""
    x, y = axes.transData.transform(point)
    half = 0.32 * FONT * characters * scale, 0.42 * FONT * scale
    frame = axes.get_window_extent()
    places = [(dx, dy, _box(x + dx * scale, y + dy * scale, *half)) for dx, dy in _places()]
    inside = [place for place in places if _within(place[2], frame)]
    free = next((place for place in inside if not place[2].count_overlaps(taken)), None)
    return free or min(inside or places, key=lambda place: place[2].count_overlaps(taken))


def _write(axes: Axes, number: str, point: tuple[float, float], offset: tuple[float, float], colour: str) -> None:
    lead = {"arrowstyle": "-", "lw": 0.4, "color": colour, "shrinkA": 3.5, "shrinkB": 3}
    axes.annotate(
        number,
        point,
        xytext=offset,
        textcoords="offset points",
        fontsize=FONT,
        color=colour,
        ha="center",
        va="center_baseline",
        zorder=5,
        arrowprops=lead if math.hypot(*offset) > LEAD else None,
        annotation_clip=False,
    )


def _places() -> Iterator[tuple[float, float]]:
    """Offsets in points, nearest first; above to the right, then around."""
    for ring in RINGS:
        for index in range(ANGLES):
            turn = math.pi / 4 + (index + 1) // 2 * (-1) ** index * 2 * math.pi / ANGLES
            yield ring * math.cos(turn), ring * math.sin(turn)


def _box(x: float, y: float, half_width: float, half_height: float) -> Bbox:
    return Bbox.from_extents(x - half_width, y - half_height, x + half_width, y + half_height)


def _within(box: Bbox, frame: Bbox) -> bool:
    return bool(box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1)
