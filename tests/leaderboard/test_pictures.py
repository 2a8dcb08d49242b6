"""Pareto pictures: what is drawn, where the numbers stand, and what the files are called."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from harness.leaderboard.board.boards import boards
from harness.leaderboard.render.figures import MOST_NUMBERS, pareto_figure, save
from harness.leaderboard.render.folder import MARKER, ReportFolder
from harness.leaderboard.render.pictures import plans, write_pictures
from harness.leaderboard.render.placing import place_numbers
from harness.leaderboard.report import write
from harness.leaderboard.stats.pareto import Point, Standing
from tests.leaderboard.synthetic import add, evidence, rows

pytestmark = pytest.mark.slow


def standing(label, cost, top1, status="dominated"):
    return Standing(Point(label, (cost,), (top1,)), status, 0.5, False)


def drawn(points, axis="seconds", full=90.0):
    return pareto_figure("title", points, axis, "CPU", full)


def words(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def markers(axes):
    return [line for line in axes.lines if len(line.get_xdata()) == 1]


def test_the_axis_shows_what_is_compared():
    points = [("w8a8", standing(f"s{index}", 1.0 + index, 50 + 0.2 * index)) for index in range(8)]
    figure = drawn(points)
    low, high = figure.axes[0].get_ylim()
    assert 49.5 < low < 50
    assert 51.4 < high < 52
    assert "full precision 90.00 %, above this axis" in words(figure)
    assert not [line for line in figure.axes[0].lines if set(line.get_ydata()) == {90.0}], "no line so far away"
    near = drawn(points, full=51.5)
    assert "full precision 51.50 %" in words(near)
    assert [line for line in near.axes[0].lines if set(line.get_ydata()) == {51.5}]


def test_what_has_collapsed_is_at_the_edge():
    points = [("w3a8", standing(f"s{index}", 1.0 + index, 80 + 0.5 * index)) for index in range(7)]
    figure = drawn([*points, ("w3a8", standing("collapsed", 2.0, 0.1))])
    low, _ = figure.axes[0].get_ylim()
    assert low > 70
    (edge,) = [line for line in markers(figure.axes[0]) if line.get_marker() == "v"]
    assert edge.get_ydata() == [low]
    assert "collapsed" in words(figure)


def test_a_bit_width_does_not_collapse_as_a_whole():
    points = [("w4a8", standing(f"a{i}", 2e6 + i, 90 + 0.01 * i)) for i in range(8)]
    points += [("w3a8", standing(f"b{i}", 1e6 + i, 60 + 0.01 * i)) for i in range(3)]
    axes = drawn(points, "size_bytes").axes[0]
    assert axes.get_ylim()[0] < 60
    assert not [line for line in markers(axes) if line.get_marker() == "v"]


@pytest.mark.parametrize(("statuses", "steps"), [(["undecided"] * 3, 0), (["front", "undecided"], 0), (["front"] * 2, 1)])
def test_a_line_joins_only_what_is_proven(statuses, steps):
    points = [("w8a8", standing(f"s{i}", 1.0 + i, 80.0 + i, status)) for i, status in enumerate(statuses)]
    figure = drawn(points)
    assert len([line for line in figure.axes[0].lines if line.get_drawstyle() == "steps-post"]) == steps
    assert ("none is proven to be on the front" in words(figure)) == ("front" not in statuses)


def test_units():
    for axis, cost, shown, label in (
        ("size_bytes", 5_700_000, 5.7, "model size, MB"),
        ("bit_operations", 2.33e9, 2.33, "work per image, G bit-operations"),
        ("seconds", 12.0, 12.0, "time to quantize, s (CPU)"),
    ):
        axes = pareto_figure("t", [("w8a8", standing("s", cost, 80.0))], axis, "CPU" if axis == "seconds" else "", 90).axes[
            0
        ]
        assert markers(axes)[0].get_xdata() == pytest.approx([shown])
        assert axes.get_xlabel() == label


def test_bit_widths_are_told_apart():
    points = [(bits, standing("fqvit", 1e6 * place, 80.0 + place)) for place, bits in enumerate(("w8a8", "w4a8"), start=1)]
    figure = drawn(points, "size_bytes")
    assert len({line.get_marker() for line in markers(figure.axes[0])}) == 2
    assert {"w8a8 fqvit", "w4a8 fqvit"} <= set(words(figure))


@pytest.mark.parametrize("count", [3, 19, 60])
@pytest.mark.parametrize("crowd", [False, True])
def test_numbers_cover_nothing(count, crowd):
    """Neither a marker nor each other, however the points lie; there are no more than the key has lines for."""
    generator = np.random.default_rng(count)
    spread = 0.05 if crowd else 1.0
    points = generator.normal(size=(min(count, MOST_NUMBERS), 2)) * spread + 5
    places = [(str(i + 1), x, y, 5.0, "black") for i, (x, y) in enumerate(points)]
    figure = Figure(figsize=(4, 3))
    axes = figure.add_axes((0.1, 0.1, 0.85, 0.85))
    axes.plot([p[1] for p in places], [p[2] for p in places], "o", ms=5)
    axes.set_xlim(2, 8)
    axes.set_ylim(2, 8)
    boxes = place_numbers(axes, places)
    assert len(boxes) == len(places)
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    pixels = [axes.transData.transform(place[1:3]) for place in places]
    assert not [1 for box in boxes for x, y in pixels if box.x0 < x < box.x1 and box.y0 < y < box.y1]


def test_a_key_says_what_has_no_number():
    points = [("w8a8", standing(f"s{i}", 1.0 + i, 80 + 0.01 * i, "undecided")) for i in range(MOST_NUMBERS + 4)]
    shown = words(drawn(points))
    assert f"{MOST_NUMBERS}" in shown
    assert "4 points without numbers" in shown
    crowd = [*points[:3], *(("w8a8", standing(f"d{i}", 1.0 + i, 70.0)) for i in range(MOST_NUMBERS))]
    assert f"{MOST_NUMBERS} points without numbers" in words(drawn(crowd)), "in a crowd the dominated are dots"


def test_costs_that_are_not_known_are_left_out():
    points = [("w8a8", standing("known", 1.0, 80.0)), ("w8a8", standing("unknown", float("nan"), 81.0))]
    assert "unknown" not in words(drawn(points))
    assert "known" not in words(drawn(points[1:]))


def test_files_are_short_stable_and_the_same_again(store, tmp_path):
    for bits in ("w8a8", "w4a8"):
        add(store, "fqvit", 800, bits=bits, model="vit_pico_patch4_28.fashion_mnist")
    first = write(rows(store), evidence(store), tmp_path / "a", ["svg", "pdf", "md"], ["seconds", "size_bytes"])
    names = [path.name for path in first if path.stem.startswith("pareto")]
    assert [name.rpartition("-")[0] for name in names[::2]] == [
        "pareto-time-vit_pico-w8a8",
        "pareto-time-vit_pico-w4a8",
        "pareto-size-vit_pico-all",
    ]
    assert max(map(len, names)) < 45
    text = (tmp_path / "a" / "README.md").read_text()
    assert "![Top-1 against model size, vit\\_pico, all](pareto-size-vit_pico-all-" in text
    add(store, "fqvit", 800, data={"name": "another", "fingerprint": "g"}, environment={"device": "NVIDIA H200"})
    again = write(rows(store), evidence(store), tmp_path / "b", ["svg", "pdf"], ["seconds", "size_bytes"])
    assert set(names) <= {path.name for path in again}
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_pictures_of_an_earlier_report_are_removed_and_nothing_else(store, tmp_path):
    add(store, "fqvit", 800)
    out = tmp_path / "out"
    folder = ReportFolder(out)
    for name in ("pareto_seconds-old.svg", "leaderboard.csv"):
        folder.write(name, lambda path: path.write_text("old"))
    (out / "pareto-mine.svg").write_text("mine")
    pictures = write_pictures(boards(rows(store), evidence(store)), evidence(store), ReportFolder(out), ["seconds"], ["svg"])
    kept = {path.name for one in pictures for path in one.paths} | {"leaderboard.csv", "pareto-mine.svg", MARKER}
    assert {path.name for path in out.iterdir()} == kept
    assert "old.svg" not in (out / MARKER).read_text()


def test_sizes_of_all_bit_widths_share_a_picture_and_times_do_not(store):
    for bits in ("w8a8", "w4a8", "w3a8"):
        add(store, "fqvit", 800, bits=bits)
        add(store, "fp32", 900, bits=bits)
    found = list(plans(boards(rows(store), evidence(store)), ["seconds", "size_bytes", "bit_operations"]))
    assert [(plan.cost, len(plan.boards)) for plan in found] == [
        *[("seconds", 1)] * 3,
        ("size_bytes", 3),
        ("bit_operations", 3),
    ]


def test_a_picture_for_the_web_is_found(tmp_path):
    figure = drawn([("w8a8", standing("s", 1.0, 80.0))])
    paths = save(figure, "x", ReportFolder(tmp_path), ["pdf", "png"])
    assert [path.suffix for path in paths] == [".pdf", ".png"]
    assert paths[0].read_bytes().startswith(b"%PDF")
