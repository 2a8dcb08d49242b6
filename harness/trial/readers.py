"""Data sets that timm's readers open, as they are asked for: ``hfds/NAME``, ``wds/FOLDER``, ``torch/NAME``.

Settings stand in parentheses: ``hfds/imagenet-1k(evaluation=test)``. A folder of one's own that begins with such a word is
given as ``./hfds``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import PurePath

from harness.errors import UsageError, nearest
from harness.text import user_path

HFDS, WDS, TORCH = "hfds", "wds", "torch"
KINDS = (HFDS, WDS, TORCH)
SPLITS = ("calibration", "evaluation")
SETTINGS: Mapping[str, tuple[str, ...]] = {
    HFDS: (*SPLITS, "root", "image", "label"),
    WDS: (*SPLITS, "image", "label"),
    TORCH: (*SPLITS, "root", "download"),
}
TRUE = "true"
_PLACES = ("/", "./", "../", "~")  # what a path begins with where a name of a hub could stand


@dataclass(frozen=True)
class ReaderData:
    """A data set of one of timm's readers.

    Attributes:
        kind: ``hfds`` (datasets of a hub, or local parquet), ``wds`` (tar shards), ``torch`` (torchvision).
        name: In a hub or in torchvision; for ``wds`` the folder of the shards.
        calibration: Split that calibration images are drawn from.
        evaluation: Split that is evaluated; empty for validation where there is one, else test.
        root: ``torch``: where the files are; ``hfds``: where downloads are kept. Empty for the library's own place.
        image: Column or file ending of the images; empty for the reader's own.
        label: Column or JSON field of the labels; empty for the reader's own.
        download: ``true`` lets torchvision download.
    """

    kind: str
    name: str
    calibration: str = "train"
    evaluation: str = ""
    root: str = ""
    image: str = ""
    label: str = ""
    download: str = ""

    def __str__(self) -> str:
        """As it is typed; settings at their default are left out."""
        given = [
            f"{one.name}={getattr(self, one.name)}" for one in fields(self)[2:] if getattr(self, one.name) != one.default
        ]
        return f"{self.kind}/{self.name}" + (f"({','.join(given)})" if given else "")

    @property
    def is_place(self) -> bool:
        """Whether the name is a path."""
        return self.kind == WDS or (self.kind == HFDS and self.name.startswith(_PLACES))

    @property
    def short(self) -> str:
        """What records call it: the reader and the last part of the name."""
        return f"{self.kind}/{PurePath(self.name).name}"

    def absolute(self) -> ReaderData:
        """The same with absolute paths: a job may start in another folder.

        Raises:
            UsageError: A path is not possible.
        """
        name = str(user_path(self.name).absolute()) if self.is_place else self.name
        root = str(user_path(self.root).absolute()) if self.root else ""
        return dataclasses.replace(self, name=name, root=root)


def reader_data(text: str) -> ReaderData | None:
    """The data set that a text asks for; None where it names no reader.

    Raises:
        UsageError: There is no name, or a setting is not known or has no value.
    """
    kind, slash, rest = str(text).partition("/")  # from Python a place may be a Path
    if not slash or kind not in KINDS:
        return None
    name, inside = _parted(rest)
    if not name:
        raise UsageError(
            f"data {text!r} names no data set", f"expected {kind}/NAME, or ./{kind}/... for a folder of your own"
        )
    return ReaderData(kind, name, **_settings(text, kind, inside))


def _parted(rest: str) -> tuple[str, str]:
    """Name and what stands in parentheses at its end."""
    if not rest.endswith(")"):
        return rest, ""
    name, _, inside = rest[:-1].rpartition("(")
    return name, inside


def _settings(text: str, kind: str, inside: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in inside.split(","))):
        key, _, value = (one.strip() for one in part.partition("="))
        if key not in SETTINGS[kind]:
            expected = ", ".join(SETTINGS[kind])
            raise UsageError(
                f"data {text!r}: {kind} has no setting {key!r}.{nearest(key, SETTINGS[kind])} Expected: {expected}"
            )
        if not value:
            raise UsageError(f"data {text!r}: setting {key!r} has no value", f"expected {kind}/NAME({key}=VALUE)")
        if key in found:
            raise UsageError(f"data {text!r}: setting {key!r} is there twice")
        found[key] = value
    if found.get("download", TRUE) != TRUE:
        raise UsageError(f"data {text!r}: download is {found['download']!r}, expected {TRUE}, or leave it out")
    return found
