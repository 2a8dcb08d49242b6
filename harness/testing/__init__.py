"""Tests that every method must pass, for authors of methods: see ``docs/writing-a-method.md``.

A test module of three lines runs them::

    from harness.testing import MethodKit

    class TestClip(MethodKit):
        methods = ("clip",)

and ``conftest.py`` beside it loads the fixtures: ``pytest_plugins = ["harness.testing.plugin"]``. They are not loaded into
every pytest run by an entry point: that would import torch, and put fixtures called ``model`` and ``store``, into the tests
of every project in the same environment.
"""

from harness.testing.methods import MethodKit
from harness.testing.sources import SourceKit

__all__ = ["MethodKit", "SourceKit"]
