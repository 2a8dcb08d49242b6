"""The code that was planned is the code that runs: a copy of the package per submission, shared while it is the same.

A copy is named after its content (``code_digest.py``), and whoever starts a process from it looks at the content before:
nothing of a copy that was changed is run.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from harness.errors import UsageError
from harness.machine import code_digest
from harness.machine.measure import COMMIT, COMMIT_FILE
from harness.machine.measure import PACKAGE as ROOT

PACKAGE = "harness"
LEFT_OUT = ("leaderboard/results",)  # results, no code
# Compiled code beside the copy's files would be code that the name says nothing of.
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


def take(folder: Path) -> Path:
    """Copy the package below ``folder`` and return the path that belongs first on ``PYTHONPATH``.

    Methods of other distributions are not copied; their versions are in the records.

    Raises:
        UsageError: An earlier copy of the same code was changed since.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder, prefix="."))
    try:
        for name, path in _files().items():
            (aside / PACKAGE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, aside / PACKAGE / name)
        (aside / PACKAGE / COMMIT_FILE).write_text(COMMIT or "", encoding="utf-8")
        aside.chmod(0o755)
        target = folder / code_digest.digest_of(aside)
        _rename(aside, target)
    finally:  # a full disk, an interruption, or the copy is there
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):
            folder.rmdir()  # if it is empty
    verify(target)
    return target


def _rename(aside: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        os.rename(aside, target)
    except OSError:
        if not target.is_dir():  # else another process was faster: its copy is the same
            raise


def verify(code: Path) -> None:
    """Look at a copy before a process is started from it.

    Raises:
        UsageError: Its content is not what its name says.
    """
    problem = code_digest.complaint(code)
    if problem:
        raise UsageError(f"{problem}; nothing of it was run", "delete that folder and use harness resume, which copies anew")


def verify_line(code: Path) -> str:
    """The same as a line of a job's shell script; it ends the job with code 2 before anything of the copy is imported."""
    text = Path(code_digest.__file__).read_text(encoding="utf-8")
    return f"{shlex.quote(sys.executable)} -I -c {shlex.quote(text)} {shlex.quote(str(code))} || exit 2"


def variables(code: Path, inherited: str) -> dict[str, str]:
    """Environment of a process that runs a copy.

    Args:
        code: The copy.
        inherited: ``PYTHONPATH`` as it is now.
    """
    path = os.pathsep.join(part for part in (str(code), inherited) if part)
    return {"PYTHONPATH": path, NO_BYTECODE: "1"}


def _files() -> dict[str, Path]:
    """Every file of the package by its relative path, links followed: in a checkout the folders of methods are links."""
    found = {
        (Path(folder) / name).relative_to(ROOT).as_posix(): Path(folder) / name
        for folder, _, names in os.walk(ROOT, followlinks=True)
        for name in sorted(names)
        if "__pycache__" not in Path(folder).parts and name != COMMIT_FILE
    }
    return {name: path for name, path in found.items() if not name.startswith(tuple(f"{one}/" for one in LEFT_OUT))}
