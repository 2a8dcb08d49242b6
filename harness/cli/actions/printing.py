"""What several commands print alike."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from harness.store.reading import BrokenFile


def warn(broken: Iterable[BrokenFile]) -> None:
    """Name files that are no records on standard error."""
    for problem in broken:
        print(f"warning: {problem.path} is no record: {problem.reason}", file=sys.stderr)
