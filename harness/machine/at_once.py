"""Ctrl-C, SIGTERM and SIGHUP while the program starts: nothing is left behind yet. Imports next to nothing."""

import os
import signal


def end(number: int, _frame: object = None) -> None:
    """End the process with the exit code of a signal."""
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(128 + number)


def end_at_once() -> None:
    """Let them end the process at once; one that is ignored, as in a background job, still is."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
