"""Everything that ``harness report`` writes, from rows of records and their per-image results."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from harness.leaderboard import text
from harness.leaderboard.board.altered import altered_note, altered_on
from harness.leaderboard.board.boards import Board, boards
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.export import long_rows
from harness.leaderboard.board.features import feature_rows
from harness.leaderboard.board.ladder import gains, ladder_markdown
from harness.leaderboard.board.noise import noise_markdown
from harness.leaderboard.board.versions import versions_markdown
from harness.leaderboard.published.numbers import compare, comparison_markdown
from harness.leaderboard.published.ordering import ordering_markdown, orderings
from harness.leaderboard.render import tables
from harness.leaderboard.render.features import features_markdown
from harness.leaderboard.render.folder import ReportFolder
from harness.leaderboard.render.latex import leaderboards_latex
from harness.leaderboard.render.page import page
from harness.leaderboard.render.pictures import FORMATS as PICTURES
from harness.leaderboard.render.pictures import Picture, write_pictures
from harness.leaderboard.render.quality import quality_markdown
from harness.store.analyses import FOLDER
from harness.store.csv_file import write_csv
from harness.trial.spec import FEATURES

FORMATS = ("md", "csv", "parquet", "latex", "svg", "pdf", "html")  # without being asked; there is png too


def markdown(rows: pd.DataFrame, evidence: Evidence, metrics: Sequence[str] = ()) -> str:
    """All leaderboards, what each step adds, how far the order can be trusted, published numbers, failures.

    Args:
        rows: One row per record.
        evidence: Per-image results.
        metrics: What to show beyond top-1, any of ``harness.leaderboard.render.quality.METRICS``.
    """
    return _markdown(rows, boards(rows, evidence), evidence, metrics)


def _markdown(rows: pd.DataFrame, found: Sequence[Board], evidence: Evidence, metrics: Sequence[str]) -> str:
    parts = [part for board in found for part in _board_parts(board, evidence, metrics)]
    published = comparison_markdown(compare(found))
    parts += ["### Published numbers beside ours", published] if published else []
    orders = ordering_markdown(orderings(found, evidence))
    parts += ["### Order of methods beside the published one", orders] if orders else []
    features = features_markdown(rows)
    parts += [features] if features else []
    versions = versions_markdown(rows)
    parts += [versions] if versions else []
    failed = tables.not_done_markdown(rows)
    parts += [failed] if failed else []
    imported = tables.imported_markdown(rows)
    parts += [imported] if imported else []
    legends = [tables.LEGEND, text.markdown(evidence.latencies.note())] if found else []
    legends += [text.markdown(altered_note([*altered_on(found), *feature_rows(rows)["altered"]]))]
    return "\n\n".join([*parts, *filter(None, legends)])


def _board_parts(board: Board, evidence: Evidence, metrics: Sequence[str]) -> Iterator[str]:
    yield tables.board_markdown(board)
    beyond = quality_markdown(board, metrics)
    if beyond:
        yield beyond
    ladder = ladder_markdown(gains(board, evidence), networks=len(board.networks) > 1)
    if ladder:
        yield f"What each step adds, at the same seeds and on the same images:\n\n{ladder}"
    noise = noise_markdown(board)
    if noise:
        yield f"How far the order can be trusted:\n\n{noise}"


def write(
    rows: pd.DataFrame,
    evidence: Evidence,
    folder: Path,
    formats: Sequence[str] = FORMATS,
    costs: Sequence[str] = ("seconds",),
    *,
    overwrite: bool = False,
    metrics: Sequence[str] = (),
) -> list[Path]:
    """Write the report into a folder.

    Args:
        rows: One row per record, as ``harness.store.table.table`` makes it.
        evidence: Per-image results.
        folder: New, empty, or of an earlier report.
        formats: Any of ``FORMATS``.
        costs: Axes of the Pareto pictures: ``seconds``, ``size_bytes``, ``bit_operations``, ``latency``, ``disk_bytes``.
        overwrite: Write into the folder whatever it has; replaces files of the same names.
        metrics: What to show beyond top-1, see ``markdown``; with ``classes`` there is a file of all classes.

    Returns:
        The files, in the order in which they were written.

    Raises:
        UsageError: The folder has files that no report wrote, or cannot be written.
    """
    target = ReportFolder(folder, overwrite=overwrite)
    found = boards(rows, evidence)
    drawn = [form for form in PICTURES if form in formats]
    pictures = write_pictures(found, evidence, target, costs, drawn) if drawn else []
    long = long_rows(found)
    makers: dict[str, Callable[[], Path]] = {
        "md": lambda: _text(target, "README.md", _readme(_markdown(rows, found, evidence, metrics), pictures)),
        "csv": lambda: target.write("leaderboard.csv", lambda path: write_csv(long, path)),
        "parquet": lambda: target.write("leaderboard.parquet", lambda path: long.to_parquet(path, index=False)),
        "latex": lambda: _text(target, "leaderboard.tex", leaderboards_latex(found)),
        "html": lambda: _text(target, "index.html", page(rows[rows["task"] != FEATURES], found, evidence)),
    }
    written = [*(path for one in pictures for path in one.paths)]
    written += [make() for form, make in makers.items() if form in formats]
    if "html" in formats:
        _copy_analyses(target, evidence, rows)
    return [*written, *_more_tables(target, rows, evidence, formats, metrics)]


def _more_tables(
    target: ReportFolder, rows: pd.DataFrame, evidence: Evidence, formats: Sequence[str], metrics: Sequence[str]
) -> Iterator[Path]:
    """Results by class where they are asked for, and trials that measured features where there are some."""
    if "classes" in metrics:
        classes = evidence.classes(list(rows.loc[rows["status"] == "done", "id"]))
        yield target.write("classes.csv", lambda path: write_csv(classes, path))
    features = feature_rows(rows) if "csv" in formats else rows[:0]
    if not any(features["altered"]):
        features = features.drop(columns="altered")
    if len(features):
        yield target.write("features.csv", lambda path: write_csv(features, path))


def _copy_analyses(target: ReportFolder, evidence: Evidence, rows: pd.DataFrame) -> None:
    """Put the pictures of trials beside the page, which links them."""
    for trial, files in evidence.analyses(list(rows["id"])).items():
        for path in files:
            target.write(f"{FOLDER}/{trial}/{path.name}", partial(shutil.copyfile, path))


def _readme(boards_and_more: str, pictures: Sequence[Picture]) -> str:
    shown = "\n\n".join(f"![{text.markdown(one.alt)}]({one.shown.name})" for one in pictures if one.shown is not None)
    return f"# Leaderboard\n\n{boards_and_more}\n\n{shown}".rstrip() + "\n"


def _text(folder: ReportFolder, name: str, content: str) -> Path:
    return folder.write(name, lambda path: path.write_text(content, encoding="utf-8"))
