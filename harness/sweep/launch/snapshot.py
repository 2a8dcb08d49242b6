"""The code that was planned is the code that runs: a copy of the packages per submission, shared while it is the same."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from harness.machine.measure import COMMIT, COMMIT_FILE

PACKAGES = ("harness", "methods", "baselines", "leaderboard")


def take(folder: Path) -> Path:
    """Copy the packages below ``folder`` and return the path to put first on ``PYTHONPATH``.

    Methods of other distributions are not copied; their versions are in the records.
    """
    files = {f"{package}/{name}": path for package in PACKAGES for name, path in _files(package).items()}
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\n".encode() + hashlib.sha256(files[name].read_bytes()).digest())
    target = folder / digest.hexdigest()[:12]
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder, prefix="."))
    for name, path in files.items():
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, aside / name)
    (aside / "harness" / COMMIT_FILE).write_text(COMMIT or "", encoding="utf-8")
    aside.chmod(0o755)
    try:
        os.rename(aside, target)
    except OSError:  # another process was faster: its copy is the same
        shutil.rmtree(aside)
    return target


def _files(package: str) -> dict[str, Path]:
    spec = importlib.util.find_spec(package)
    roots = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    return {
        path.relative_to(root).as_posix(): path
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.name != COMMIT_FILE
    }
