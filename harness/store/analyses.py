"""Pictures of trials that ``harness analyze`` made: ``<store>/analyses/<id>/`` with ``index.html`` and all that it shows.

All of it can be deleted at any time and made again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.store.store import Store

FOLDER, INDEX = "analyses", "index.html"
ENDINGS = (".html", ".svg", ".png", ".csv", ".json")


def analysis_folder(store: Store, trial: str) -> Path:
    """Where the pictures of a trial are kept."""
    return store.root / FOLDER / trial


def analysed(store: Store, trials: Iterable[str]) -> dict[str, list[Path]]:
    """The files of each trial that has pictures, by id; links are not followed, other files are left out."""
    root = store.root / FOLDER
    there = {path.name for path in root.iterdir() if _own(path)} if _own(root) else set()
    folders = {trial: root / trial for trial in trials if trial in there}
    return {trial: _files(folder) for trial, folder in folders.items() if _shown(folder / INDEX)}


def _own(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _shown(path))


def _shown(path: Path) -> bool:
    return path.suffix in ENDINGS and path.is_file() and not path.is_symlink()
