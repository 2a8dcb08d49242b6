"""The folder that a report is written into: an empty one, or one whose files are of an earlier report."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.store.store import write_aside, write_json

MARKER = ".harness-report.json"  # names the files that reports wrote, so that no other file is ever replaced
SHOWN = 3

_NO_FOLDER = (FileExistsError, NotADirectoryError)


class ReportFolder:
    """Files of a report in one folder; nothing that no report wrote is replaced.

    Args:
        folder: Made if it does not exist.
        overwrite: Replace files of the same names whoever wrote them.

    Raises:
        UsageError: The folder has other files, or cannot be made.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        self.folder = folder
        self._overwrite = overwrite
        known = _known(folder / MARKER)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            others = [path.name for path in islice(folder.iterdir(), SHOWN + 1)]
        except OSError as error:
            raise self._unwritable(error) from error
        if others and known is None and not overwrite:
            names = ", ".join(map(repr, sorted(others)[:SHOWN])) + (", ..." if len(others) > SHOWN else "")
            raise UsageError(
                f"folder {str(folder)!r} has files that no report wrote: {names}",
                "give a new or empty folder with --out, or --overwrite to write into this one",
            )
        self._known = known or set()
        self._written: set[str] = set()

    def write(self, name: str, fill: Callable[[Path], Any]) -> Path:
        """Write one file, aside and renamed, so that a link in its place is replaced and not followed.

        Args:
            name: Of the file; may be in a folder below.
            fill: Writes its content to a path.

        Raises:
            UsageError: There is a file of this name that no report wrote, or it cannot be written.
        """
        path = self.folder / name
        if name not in self._known and not self._overwrite and (path.exists() or path.is_symlink()):
            raise UsageError(f"{str(path)!r} was not written by a report", "move it away, or use --overwrite")
        try:
            if name not in self._known:
                self._known.add(name)
                self._note()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_aside(path, fill)
        except OSError as error:
            raise self._unwritable(error) from error
        self._written.add(name)
        return path

    def remove_others(self, prefix: str) -> None:
        """Remove files that earlier reports wrote and this one did not: a picture of another name would stay for ever.

        Args:
            prefix: What their names begin with.

        Raises:
            UsageError: One cannot be removed.
        """
        old = sorted(name for name in self._known - self._written if name.startswith(prefix) and "/" not in name)
        try:
            for name in old:
                (self.folder / name).unlink(missing_ok=True)
            if old:
                self._known -= set(old)
                self._note()
        except OSError as error:
            raise self._unwritable(error) from error

    def _note(self) -> None:
        write_json(self.folder / MARKER, {"written by": "harness report", "files": sorted(self._known)})

    def _unwritable(self, error: OSError) -> UsageError:
        hint = "expected a folder, a part of this path is a file" if isinstance(error, _NO_FOLDER) else ""
        return UsageError(f"folder {str(self.folder)!r} cannot be written: {error.strerror or error}", hint)


def _known(marker: Path) -> set[str] | None:
    """The names in a marker; None when there is none, or it is not one of ours."""
    try:
        content = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else None
        return set(map(str, content["files"])) if content is not None else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
