"""Ctrl-C, SIGTERM and SIGHUP: the process stops in order, says so in one line, and its exit code tells which it was.

All become a ``KeyboardInterrupt``, so that files written aside go away and workers save their state. Not during an import:
there it could be lost in a library, or leave half a module; it comes when the import is over, and a second one ends at once.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from harness.machine.at_once import end

INTERRUPTED = 128 + signal.SIGINT
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_SECONDS = 0.05
_received: list[int] = []


def exit_code() -> int:
    """The exit code of a process that was told to stop: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    return 128 + _received[0] if _received else INTERRUPTED


def told_to_stop() -> bool:
    """Whether a signal has come: an error that follows is then its consequence, in a library that was interrupted."""
    return bool(_received)


@contextmanager
def nothing_at_stake() -> Iterator[None]:
    """Let them end the process at once in the block, for example while torch is loaded before any work."""
    before = _set(end) if threading.current_thread() is threading.main_thread() else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def orderly() -> Iterator[None]:
    """Let them raise ``KeyboardInterrupt`` in the block; what was ignored before, as in a background job, still is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hook = sys.unraisablehook
    alarm = signal.signal(signal.SIGALRM, _again)
    before = _set(_stop)
    sys.unraisablehook = lambda lost: _delay() if issubclass(lost.exc_type, KeyboardInterrupt) else hook(lost)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.signal(signal.SIGALRM, alarm)
        sys.unraisablehook = hook
        _received.clear()
        # Once KeyboardInterrupt went through an exec of a text, as libraries do it, Python would end by SIGINT instead of
        # with our exit code; the next exec makes it forget that.
        exec("")


def _set(handler: Any) -> dict[signal.Signals, Any]:
    """Set a handler where the signal is not ignored; returns those that were there."""
    found = {number: signal.getsignal(number) for number in STOPPING}
    found = {number: other for number, other in found.items() if other not in (signal.SIG_IGN, None)}
    for number in found:
        signal.signal(number, handler)
    return found


def _stop(number: int, frame: FrameType | None) -> None:
    waiting = bool(_received) and _in_import(frame)
    _received.append(number)
    if waiting:
        end(number)
    _again(number, frame)


def _again(_number: int, frame: FrameType | None) -> None:
    """Stop now, or a little later while something is imported."""
    if _in_import(frame):
        _delay()
    elif _received:
        raise KeyboardInterrupt


def _delay() -> None:
    signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)


def _in_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
