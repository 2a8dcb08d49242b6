"""A store that came from others may hold links to anything: nothing is written through one that leads out of the store."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import UsageError

HINT = "what a store writes to must be a folder of the store"


def inside(root: Path, folder: Path) -> Path:
    """A folder of a store, there or not, which lies in it in truth too. Asked before anything is made or written there.

    Folders directly in the store (``trials``, ``logits``, ...) may be links: they are how a part of it lies on another disk.

    Args:
        root: Folder of the store.
        folder: Below it.

    Returns:
        The folder, as it was given.

    Raises:
        UsageError: A link on the way leads out of the store; it is named with its target.
    """
    parts = folder.absolute().relative_to(root.absolute()).parts
    base = root.joinpath(*parts[:1])
    allowed = [Path(os.path.realpath(root)), Path(os.path.realpath(base))]
    path = base
    for part in parts[1:]:
        path = path / part
        if path.is_symlink() and not any(Path(os.path.realpath(path)).is_relative_to(place) for place in allowed):
            raise UsageError(f"{path} is a link to {os.readlink(path)}, out of the store", HINT)
    return folder


def trial_inside(root: Path, folder: Path) -> Path:
    """The folder of a trial, whose place, and the folders in it, lie in the store.

    Raises:
        UsageError: The folder or the one above it is a link, to whatever; or one below it leads out of the store.
    """
    link = next((path for path in (folder.parent, folder) if path.is_symlink()), None)
    if link is not None:
        raise UsageError(f"{link} is a link to {os.readlink(link)}", "a trial's folder must be a folder of the store")
    for name in ("attempts", "replicas", "latency"):
        inside(root, folder / name)
    return folder
