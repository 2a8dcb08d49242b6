"""Standard output and error where they cannot be written to: another encoding, a full disk, a reader that went away."""

from __future__ import annotations

import errno
import os
import select
import sys
from contextlib import suppress

FAILED_WRITES = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def flush_output() -> None:
    """Write out what was printed.

    Raises:
        OSError: It cannot be written.
    """
    if sys.stdout is not None:
        sys.stdout.flush()


def reader_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more, as in ``harness report | head``."""
    with suppress(OSError, ValueError, AttributeError):
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return False


def give_up_output() -> None:
    """Send what is still to be printed nowhere, so that the end of the process is silent."""
    with suppress(OSError, ValueError, AttributeError):
        target = os.open(os.devnull, os.O_WRONLY)
        os.dup2(target, sys.stdout.fileno())
        os.close(target)


def say(text: str) -> None:
    """One line on standard error, if that can be written to."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
