"""Options that several commands share."""

from __future__ import annotations

from argparse import _ActionsContainer  # parsers and groups of options alike


def add_store(options: _ActionsContainer) -> None:
    """``--store``."""
    options.add_argument("--store", metavar="<dir>", help="folder of the records (default: $HARNESS_HOME, else ./runs)")


def add_json(options: _ActionsContainer) -> None:
    """``--json``."""
    options.add_argument("--json", action="store_true", help="machine-readable output on standard output")


def add_trust(options: _ActionsContainer) -> None:
    """``--trust-imported``."""
    options.add_argument(
        "--trust-imported", action="store_true", help="imported records count as done (without it: measured again here)"
    )
