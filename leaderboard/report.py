"""Everything that ``harness report`` writes, from rows of records and their per-image results."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from harness.leaderboard.board.boards import FULL_PRECISION, Board, BoardCell, Network, Recipe, boards
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.export import long_rows
from harness.leaderboard.board.ladder import gains, ladder_markdown
from harness.leaderboard.board.noise import noise_markdown
from harness.leaderboard.board.versions import versions_markdown
from harness.leaderboard.published.numbers import (
    PublishedRuntime,
    accuracies,
    compare,
    comparison_markdown,
    models,
    runtimes,
)
from harness.leaderboard.published.ordering import ordering_markdown, orderings
from harness.leaderboard.render import tables
from harness.leaderboard.render.folder import ReportFolder
from harness.leaderboard.render.page import page
from harness.leaderboard.stats.pareto import Point, Standing, standings
from harness.store.csv_file import write_csv
from harness.trial.spec import DATA

LONGEST_NAME = 180  # bytes; file systems allow 255, and what is written aside needs some more
FORMATS = ("md", "csv", "parquet", "latex", "svg", "html")


def markdown(rows: pd.DataFrame, evidence: Evidence) -> str:
    """All leaderboards, what each step adds, how far the order can be trusted, published numbers, failures."""
    return _markdown(rows, boards(rows, evidence), evidence)


def _markdown(rows: pd.DataFrame, found: Sequence[Board], evidence: Evidence) -> str:
    parts = [part for board in found for part in _board_parts(board, evidence)]
    published = comparison_markdown(compare(found))
    parts += ["### Published numbers beside ours", published] if published else []
    orders = ordering_markdown(orderings(found, evidence))
    parts += ["### Order of methods beside the published one", orders] if orders else []
    versions = versions_markdown(rows)
    parts += [versions] if versions else []
    failed = tables.not_done_markdown(rows)
    parts += [failed] if failed else []
    imported = tables.imported_markdown(rows)
    parts += [imported] if imported else []
    return "\n\n".join([*parts, *([tables.LEGEND] if found else [])])


def _board_parts(board: Board, evidence: Evidence) -> Iterator[str]:
    yield tables.board_markdown(board)
    ladder = ladder_markdown(gains(board, evidence), networks=len(board.networks) > 1)
    if ladder:
        yield f"What each step adds, at the same seeds and on the same images:\n\n{ladder}"
    noise = noise_markdown(board)
    if noise:
        yield f"How far the order can be trusted:\n\n{noise}"


def points_of(board: Board, network: Network, axis: str, evidence: Evidence) -> dict[str, list[Standing]]:
    """Pareto standings of one network by hardware: times of different machines never share a front.

    Args:
        board: The leaderboard.
        network: One of its columns.
        axis: ``seconds``, ``size_bytes`` or ``bit_operations``.
        evidence: Per-image results.
    """
    by_hardware: dict[str, list[Point]] = {}
    for (recipe, other), cell in board.cells.items():
        if other == network and recipe.protocol == "strict" and recipe.stack != FULL_PRECISION and not cell.overlap:
            hardware = cell.device if axis == "seconds" else ""
            by_hardware.setdefault(hardware, []).append(_point(recipe, cell, axis, evidence))
    return {hardware: standings(points) for hardware, points in by_hardware.items()}


def _point(recipe: Recipe, cell: BoardCell, axis: str, evidence: Evidence) -> Point:
    cost = getattr(cell, axis)
    costs = cell.seconds_by_seed if axis == "seconds" else (cost,)
    correct = evidence.correct(cell.ids)
    return Point(recipe.label, costs, cell.top1, None if correct is None else correct.mean(0), cell.key)


def published_points(board: Board, network: Network) -> list[tuple[PublishedRuntime, float]]:
    """Published runtimes of a network with the accuracy that the same method reports at the same bit-width."""
    found = []
    for runtime in runtimes():
        if models().get(runtime.model) != network.model or runtime.weight_bits is None:
            continue
        bits = f"w{runtime.weight_bits:g}a{runtime.activation_bits:g}"
        same = [a for a in accuracies() if (a.method, a.model, a.bits) == (runtime.method, runtime.model, bits)]
        if same and bits == board.bits:
            found.append((runtime, same[0].top1))
    return found


def write(
    rows: pd.DataFrame,
    evidence: Evidence,
    folder: Path,
    formats: Sequence[str] = FORMATS,
    costs: Sequence[str] = ("seconds",),
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write the report into a folder.

    Args:
        rows: One row per record, as ``harness.store.table.table`` makes it.
        evidence: Per-image results.
        folder: New, empty, or of an earlier report.
        formats: Any of ``FORMATS``; ``svg`` writes PNG files too.
        costs: Axes of the Pareto pictures: ``seconds``, ``size_bytes``, ``bit_operations``.
        overwrite: Write into the folder whatever it has; replaces files of the same names.

    Returns:
        The files, in the order in which they were written.

    Raises:
        UsageError: The folder has files that no report wrote, or cannot be written.
    """
    target = ReportFolder(folder, overwrite=overwrite)
    found = boards(rows, evidence)
    pictures = [path for cost in costs for path in _figures(found, evidence, target, cost)] if "svg" in formats else []
    long = long_rows(found)
    makers: dict[str, Callable[[], Path]] = {
        "md": lambda: _text(target, "README.md", _readme(_markdown(rows, found, evidence), pictures)),
        "csv": lambda: target.write("leaderboard.csv", lambda path: write_csv(long, path)),
        "parquet": lambda: target.write("leaderboard.parquet", lambda path: long.to_parquet(path, index=False)),
        "latex": lambda: _text(target, "leaderboard.tex", "\n\n".join(map(tables.board_latex, found)) + "\n"),
        "html": lambda: _text(target, "index.html", page(rows, found, evidence)),
    }
    return [*pictures, *(make() for form, make in makers.items() if form in formats)]


def _readme(boards_and_more: str, pictures: Sequence[Path]) -> str:
    shown = "\n\n".join(f"![{path.stem}]({path.name})" for path in pictures if path.suffix == ".svg")
    return f"# Leaderboard\n\n{boards_and_more}\n\n{shown}".rstrip() + "\n"


def _text(folder: ReportFolder, name: str, content: str) -> Path:
    return folder.write(name, lambda path: path.write_text(content, encoding="utf-8"))


def _figures(found: Sequence[Board], evidence: Evidence, folder: ReportFolder, cost: str) -> list[Path]:
    from harness.leaderboard.render.figures import pareto_figure, save  # matplotlib, only for pictures

    written = []
    for board in found:
        for network in board.networks:
            for hardware, points in points_of(board, network, cost, evidence).items():
                title = f"{network.label}, {board.title}"
                full = next(cell.top1_fp32 for (_, other), cell in board.cells.items() if other == network)
                published = published_points(board, network) if cost == "seconds" else []
                figure = pareto_figure(title, points, cost, hardware, full, published)
                written += save(figure, _file_name(f"pareto-{cost}", network.label, board, hardware), folder)
    return written


def _file_name(kind: str, label: str, board: Board, hardware: str) -> str:
    """A name without path separators, blanks or dots at its ends; a long one ends with its hash."""
    generated = "" if board.calib_source == DATA else board.calib_source
    apart = board.title.removeprefix(board.setting.title(board.data)) if board.setting is not None else ""
    parts = [kind, label, board.bits, board.data, f"c{board.calib}", generated, apart, hardware]
    name = "-".join(re.sub(r"[^\w.]+", "_", part).strip("_.") for part in parts if part)
    written = name.encode()
    if len(written) <= LONGEST_NAME:
        return name
    return written[:LONGEST_NAME].decode("utf-8", "ignore") + "-" + hashlib.sha256(written).hexdigest()[:8]
