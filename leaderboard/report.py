"""Everything that ``harness report`` writes, from rows of records and their per-image results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from harness.leaderboard.board.boards import FULL_PRECISION, Board, BoardCell, Network, Recipe, boards
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.ladder import gains, ladder_markdown
from harness.leaderboard.board.noise import noise_markdown
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
from harness.leaderboard.stats.pareto import Point, Standing, standings
from harness.store.store import write_aside
from harness.trial.spec import DATA

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
    failed = tables.not_done_markdown(rows)
    parts += [failed] if failed else []
    return "\n\n".join([*parts, *([tables.LEGEND] if found else [])])


def _board_parts(board: Board, evidence: Evidence) -> Iterator[str]:
    yield tables.board_markdown(board)
    ladder = ladder_markdown(gains(board, evidence), networks=len(board.networks) > 1)
    if ladder:
        yield f"What each step adds, at the same seeds and on the same images:\n\n{ladder}"
    noise = noise_markdown(board, evidence)
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
        if other == network and recipe.protocol == "strict" and recipe.stack != FULL_PRECISION:
            hardware = cell.device if axis == "seconds" else ""
            by_hardware.setdefault(hardware, []).append(_point(recipe, cell, axis, evidence))
    return {hardware: standings(points) for hardware, points in by_hardware.items()}


def _point(recipe: Recipe, cell: BoardCell, axis: str, evidence: Evidence) -> Point:
    cost = getattr(cell, axis)
    costs = cell.seconds_by_seed if axis == "seconds" else (cost,)
    correct = evidence.correct(cell.ids)
    return Point(recipe.label, costs, cell.top1, None if correct is None else correct.mean(0))


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
) -> list[Path]:
    """Write the report into a folder.

    Args:
        rows: One row per record, as ``harness.store.table.table`` makes it.
        evidence: Per-image results.
        folder: Created if it does not exist.
        formats: Any of ``FORMATS``; ``svg`` writes PNG files too.
        costs: Axes of the Pareto pictures: ``seconds``, ``size_bytes``, ``bit_operations``.

    Returns:
        The files, in the order in which they were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = boards(rows, evidence)
    written: list[Path] = []
    pictures = [path for cost in costs for path in _figures(found, evidence, folder, cost)] if "svg" in formats else []
    written += pictures
    if "md" in formats:
        shown = "\n\n".join(f"![{path.stem}]({path.name})" for path in pictures if path.suffix == ".svg")
        written.append(
            _text(folder / "README.md", f"# Leaderboard\n\n{_markdown(rows, found, evidence)}\n\n{shown}".rstrip() + "\n")
        )
    if "csv" in formats:
        written.append(_text(folder / "leaderboard.csv", tables.long_rows(found).to_csv(index=False)))
    if "parquet" in formats:
        path = folder / "leaderboard.parquet"
        write_aside(path, lambda target: tables.long_rows(found).to_parquet(target, index=False))
        written.append(path)
    if "latex" in formats:
        written.append(_text(folder / "leaderboard.tex", "\n\n".join(map(tables.board_latex, found)) + "\n"))
    if "html" in formats:
        from harness.leaderboard.render.page import page  # plotly, only for the page

        written.append(_text(folder / "index.html", page(rows)))
    return written


def _text(path: Path, content: str) -> Path:
    write_aside(path, lambda target: target.write_text(content, encoding="utf-8"))
    return path


def _figures(found: Sequence[Board], evidence: Evidence, folder: Path, cost: str) -> list[Path]:
    from harness.leaderboard.render.figures import pareto_figure, save  # matplotlib, only for pictures

    written = []
    for board in found:
        for network in board.networks:
            for hardware, points in points_of(board, network, cost, evidence).items():
                title = f"{network.label}, {board.title}"
                full = next(cell.top1_fp32 for (_, other), cell in board.cells.items() if other == network)
                published = published_points(board, network) if cost == "seconds" else []
                figure = pareto_figure(title, points, cost, hardware, full, published)
                name = _file_name(f"pareto-{cost}", network.label, board, hardware)
                written += save(figure, folder / name)
    return written


def _file_name(kind: str, label: str, board: Board, hardware: str) -> str:
    generated = "" if board.calib_source == DATA else board.calib_source
    parts = [kind, label, board.bits, board.data, f"c{board.calib}", generated, hardware]
    return "-".join(re.sub(r"[^\w.]+", "_", part).strip("_.") for part in parts if part)
