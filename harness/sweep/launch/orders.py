"""What a job needs to know, one line per pack: a job reads its own line, not the whole sweep.

``orders.jsonl`` holds the lines, ``orders.index`` their places in it: eight bytes for the beginning of each line, and eight
for the end of the last.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.store import sweep_files
from harness.store.reading import size_of
from harness.store.sweep_files import BrokenSweepFileError, PackOrder, SweepRow
from harness.sweep.manifest import Planned
from harness.sweep.submission import Submission

LINES, INDEX = "orders.jsonl", "orders.index"
PLACE = struct.Struct("<Q")


def write(submission: Submission, planned: Mapping[str, Planned], settings: Mapping[str, Any]) -> None:
    """Write the orders of all packs of a submission; ``settings`` are the same for all of them."""
    places, at = [], 0
    with (submission.folder / LINES).open("wb") as lines:
        for pack in submission.packs:
            order = {**settings, "trials": [row(planned[trial]) for trial in pack]}
            places.append(at)
            at += lines.write(json.dumps(order, allow_nan=False).encode() + b"\n")
    (submission.folder / INDEX).write_bytes(b"".join(map(PLACE.pack, [*places, at])))


def read(folder: Path, index: int) -> PackOrder:
    """The order of one pack of a submission.

    Raises:
        BrokenSweepFileError: The files are absent, truncated or foreign.
    """
    where = f"{folder / LINES}, line {index + 1}"
    try:
        for name in (INDEX, LINES):
            size_of(folder / name)
        with (folder / INDEX).open("rb") as places:
            places.seek(index * PLACE.size)
            begin, end = struct.unpack("<QQ", places.read(2 * PLACE.size))
        with (folder / LINES).open("rb") as lines:
            lines.seek(begin)
            text = lines.read(end - begin)
    except (OSError, struct.error, ValueError, OverflowError, MemoryError) as error:
        raise BrokenSweepFileError(where, str(error)) from error
    return sweep_files.parse(text, sweep_files.ORDER, where)


def row(planned: Planned) -> SweepRow:
    """A trial as it is written down."""
    return {"id": planned.id, "skipped": planned.skipped, "spec": planned.spec.as_dict()}
