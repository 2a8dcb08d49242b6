"""Warnings of the library on standard error, as the command line shows them.

Library code says what it goes on without through ``logging.getLogger("harness...")``. Used from Python, Python's own handler
shows warnings; a program that wants them elsewhere configures the logger ``harness`` as any other.
"""

from __future__ import annotations

import logging
import sys

from harness.text import inert


class _StandardError(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what is standard error now: progress bars and redirected output put another stream in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Let it be: a warning that cannot be written must not become a traceback, nor end the work."""


class _Lower(logging.Formatter):
    """``warning: what happened``."""

    def format(self, record: logging.LogRecord) -> str:
        return inert(f"{record.levelname.lower()}: {record.getMessage()}")


def warnings_to_stderr() -> None:
    """Show the library's warnings as lines ``warning: ...`` on standard error; calling it again changes nothing."""
    logger = logging.getLogger("harness")
    if not any(isinstance(handler, _StandardError) for handler in logger.handlers):
        handler = _StandardError()
        handler.setFormatter(_Lower())
        logger.addHandler(handler)
        logger.propagate = False  # else a library that configures the root logger shows each line twice
