"""Open one split through timm's own dataset factory; whatever its libraries raise becomes one line."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from timm.data import create_dataset

from harness.errors import DataError
from harness.trial.readers import HFDS, TORCH, TRUE, WDS, ReaderData

LIBRARIES = {HFDS: "datasets", WDS: "webdataset", TORCH: "torchvision"}
LONGEST = 300


def check_library(asked: ReaderData) -> None:
    """Refuse a reader whose library is not installed.

    Raises:
        DataError: With the extra that brings it.
    """
    library = LIBRARIES[asked.kind]
    if importlib.util.find_spec(library) is None:
        raise DataError(
            f"data {str(asked)!r} cannot be opened: the library {library} is not installed",
            "it needs an optional extra: pip install 'ptq-harness[data]'",
        )


def open_split(asked: ReaderData, split: str, hint: str, root: str | None = None) -> Any:
    """Timm's data set of one split.

    Args:
        asked: The data set.
        split: Name of the split.
        hint: Of the error.
        root: Another root than was asked for.

    Raises:
        DataError: There is no such data set or split, or it cannot be read.
    """
    columns = {"input_key": asked.image or None, "target_key": asked.label or None}
    try:
        with _without_warnings():
            return create_dataset(
                f"{asked.kind}/{asked.name}",
                root=root or asked.root or None,
                split=split,
                download=asked.download == TRUE,
                **(columns if asked.kind != TORCH else {}),
            )
    except Exception as error:  # libraries raise nearly anything on what they cannot open
        raise DataError(f"split {split!r} of data {str(asked)!r} cannot be opened: {_worded(error)}", hint) from error


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Timm warns of shards that have no list of their own, which is nothing wrong here."""
    log = logging.getLogger("timm.data")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _worded(error: Exception) -> str:
    """One printable line."""
    text = " ".join(str(error).split())[:LONGEST] or "no reason given"
    return f"{type(error).__name__}: " + "".join(one if one.isprintable() else "?" for one in text)
