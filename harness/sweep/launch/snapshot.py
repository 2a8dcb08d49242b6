"""The code that was planned is the code that runs: a copy of the package per submission, shared while it is the same."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from harness.machine.measure import COMMIT, COMMIT_FILE
from harness.machine.measure import PACKAGE as ROOT

PACKAGE = "harness"


def take(folder: Path) -> Path:
    """Copy the package below ``folder`` and return the path that belongs first on ``PYTHONPATH``.

    Methods of other distributions are not copied; their versions are in the records.
    """
    files = {f"{PACKAGE}/{name}": path for name, path in _files().items()}
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\n".encode() + hashlib.sha256(files[name].read_bytes()).digest())
    target = folder / digest.hexdigest()[:12]
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder, prefix="."))
    try:
        for name, path in files.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, aside / name)
        (aside / PACKAGE / COMMIT_FILE).write_text(COMMIT or "", encoding="utf-8")
        aside.chmod(0o755)
        _rename(aside, target)
    finally:  # a full disk, an interruption, or another process was faster
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):
            folder.rmdir()  # if it is empty
    return target


def _rename(aside: Path, target: Path) -> None:
    try:
        os.rename(aside, target)
    except OSError:
        if not target.is_dir():  # else another process was faster: its copy is the same
            raise


def _files() -> dict[str, Path]:
    """Every file of the package by its relative path, links followed: in a checkout the folders of methods are links."""
    return {
        (Path(folder) / name).relative_to(ROOT).as_posix(): Path(folder) / name
        for folder, _, names in os.walk(ROOT, followlinks=True)
        for name in sorted(names)
        if "__pycache__" not in Path(folder).parts and name != COMMIT_FILE
    }
