"""A local launcher that starts nothing: for tests of what comes before and after."""

from harness.sweep.launch import start
from harness.sweep.launch.start import Started


def without_workers(monkeypatch):
    """Submissions are written, no process starts, no trial ends."""
    if hasattr(start, "run_here"):
        monkeypatch.setattr(start, "run_here", lambda *given, **how: {})
    else:
        monkeypatch.setattr(start, "_run_here", lambda *given, **how: Started(1, (), {}))
