"""Ctrl-C and SIGTERM while the program starts: nothing has been done that could be left behind. Imports next to nothing."""

import os
import signal


def end(number: int, _frame: object = None) -> None:
    """End the process with the exit code of a signal."""
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(128 + number)


def end_at_once() -> None:
    """Let both signals end the process at once; one that is ignored, as in a background job, still is."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
