"""What a failure is called in its record."""

from __future__ import annotations

import traceback
from pathlib import Path

from harness.errors import HarnessError
from harness.machine.disk import explained, is_disk_error
from harness.machine.memory import is_out_of_memory
from harness.trial.record import ErrorInfo, Kind, as_kind

MESSAGE_LENGTH = 2000
TRACEBACK_LENGTH = 4000
SMALLER_BATCH = "a smaller batch of the method that ran, for example fqvit(batch=8)"
# After these a search starts anew: its state may be what is wrong.
MISTAKES: tuple[Kind, ...] = ("bug", "diverged")
# Errors of libraries that this module must not import, by class name.
FOREIGN_KINDS: dict[str, Kind] = {"UncompletedJobError": "timeout"}  # submitit: a job is out of time and not requeued


def kind_of(error: Exception, root: Path | None = None) -> Kind:
    """Kind of a failure; torch's many ways to say that memory ran out are one kind.

    Args:
        error: What was raised.
        root: The store: what may not be written there is the disk's fault.
    """
    if is_out_of_memory(error):
        return "oom"
    if is_disk_error(error, root):
        return "disk"
    return as_kind(error.kind) if isinstance(error, HarnessError) else FOREIGN_KINDS.get(type(error).__name__, "bug")


def error_info(error: Exception, root: Path | None = None) -> ErrorInfo:
    """What a record says of a failure: kind, message and the end of the traceback."""
    kind, message = kind_of(error, root), str(error)
    if kind == "oom":
        first = message.split("\n")[0] or "out of memory"
        message = f"{first} ({SMALLER_BATCH})"
    elif kind == "disk" and not isinstance(error, HarnessError):
        message = explained(error)
    trace = "".join(traceback.format_exception(error))
    return {"kind": kind, "message": _plain(message[:MESSAGE_LENGTH]), "traceback": _plain(trace[-TRACEBACK_LENGTH:])}


def _plain(text: str) -> str:
    """Text that can be written as UTF-8: names of files may hold bytes that are not."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
