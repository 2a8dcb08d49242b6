"""A record for other people: places of files on the machine that wrote it become names."""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import Any, cast

from harness.trial.fields import fields_of
from harness.trial.record import Record
from harness.trial.spec import TrialSpec

PATHS = tuple(one for one in fields_of(TrialSpec) if one.about.path)


def portable(record: Record) -> Record:
    """A record without the paths of its machine: of a folder or file only its own name is left.

    Identity and id stay: they have hashes in the place of paths. ``harness run --trial`` repeats it where ``--data`` and
    ``--weights`` say where the files are.

    Args:
        record: A record; it is not changed.
    """
    asked = dict(record.get("asked", {}))
    asked |= {one.name: _name(asked[one.name]) for one in PATHS if isinstance(asked.get(one.name), str)}
    changed: dict[str, Any] = {**record, "command": _command(record["command"])}
    return cast(Record, {**changed, "asked": asked} if asked else changed)


def _name(text: str) -> str:
    return PurePath(text).name or text


def _command(text: str) -> str:
    """The command with names behind the options that take paths; one that no shell would read is left out."""
    try:
        words = shlex.split(text)
    except ValueError:
        return ""
    flags = {one.flag for one in PATHS}
    return shlex.join(_name(word) if before in flags else word for before, word in zip(["", *words], words, strict=False))
