"""The folder ``aside/`` of a store: what does not fit is moved there and never deleted.

A file keeps its path below ``aside/``, a record of another schema below ``aside/schema-<version>/``. Beside it lies
``<name>.note.json`` with its place, the reason and the time. Nothing reads the folder; it can be deleted at any time.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import UsageError
from harness.store.reading import BrokenFile, kind_of, reason_of

log = logging.getLogger(__name__)

FOLDER = "aside"
NOTE = ".note.json"


def set_aside(root: Path, broken: BrokenFile) -> Path:
    """Move a file or folder of a store below ``aside/``.

    Args:
        root: Folder of the store.
        broken: What to move, and why.

    Returns:
        Where it is now.

    Raises:
        UsageError: It is not below ``root``, lies behind a link that leads out of it, or cannot be moved.
    """
    try:
        place = broken.path.relative_to(root)
    except ValueError:
        raise UsageError(f"{broken.path} is not in the store {root}") from None
    base = root / FOLDER if broken.schema is None else root / FOLDER / f"schema-{broken.schema}"
    try:
        _check_inside(root, broken.path.parent)
        _check_inside(root, (base / place).parent)
        (base / place).parent.mkdir(parents=True, exist_ok=True)
        target = _reserved(base / place, broken, place)
        os.rename(broken.path, target)
    except OSError as error:
        raise UsageError(f"{broken.path} cannot be moved aside: {reason_of(error)}") from error
    return target


def only_file(root: Path, path: Path) -> None:
    """Move what stands in the place of a file and is none, a folder, pipe or device, out of the way of who writes the file.

    A link stays: who writes aside and renames replaces it and does not follow it.

    Raises:
        UsageError: It cannot be moved.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:  # nothing is there, or who writes will say why not
        return
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        reason = f"it is {kind_of(mode)}, expected a file"
        log.warning("%s: %s; kept as %s", path, reason, set_aside(root, BrokenFile(path, reason)))


def _check_inside(root: Path, folder: Path) -> None:
    """Refuse a folder that is elsewhere in truth: a store that came from others may hold links to anything."""
    if not folder.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{folder} is a link that leads out of the store: nothing is moved there or from there")


def _reserved(wanted: Path, broken: BrokenFile, place: Path) -> Path:
    """A free name; creating its note reserves it, so that nothing is ever overwritten."""
    about = {"from": str(place), "reason": broken.reason, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    number = 1
    while True:
        target = wanted if number == 1 else wanted.with_name(f"{wanted.name}.{number}")
        number += 1
        if os.path.lexists(target):
            continue
        try:
            with target.with_name(target.name + NOTE).open("x", encoding="utf-8", errors="backslashreplace") as note:
                note.write(json.dumps(about, indent=1) + "\n")
        except FileExistsError:
            continue
        return target
