"""Which output of a network a class folder stands for.

Without ``--classes``, the first rule that fits all class folders:

1. ImageNet: names are WordNet ids or class indices, and the network has as many outputs as a known subset (1,000, 11,221,
   11,821, 21,841, 21,842 or 21,843).
2. Numbers: every name is the index of an output.
3. Order: there are as many folders as outputs, and the sorted names are the classes. torchvision sorts by character, timm
   without regard to case and numbers by value: where the two differ nothing is guessed.

``--classes torchvision`` or ``timm`` chooses an order, ``--classes FILE`` gives the mapping.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from timm.data import ImageNetInfo

from harness.data.class_file import read_class_file
from harness.errors import DataError
from harness.text import user_path
from harness.trial.spec import TIMM, TORCHVISION

IMAGENET_CLASSES = 1000
SUBSETS = {  # timm's, by number of outputs
    IMAGENET_CLASSES: "imagenet-1k",
    11221: "imagenet-21k-miil",
    11821: "imagenet-12k",
    21841: "imagenet-22k",
    21842: "imagenet-22k-ms",
    21843: "imagenet-21k-goog",
}
FORM = 1  # raised when the hash is of something else than before: ids of trials on such folders change
SHOWN = 3
_NUMBER = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)


@dataclass(frozen=True)
class Labels:
    """The classes of a data set.

    Attributes:
        index: Output of the network by class folder.
        rule: How they were found, for people.
        sha256: Hash of ``index``; empty for the ids and indices of ImageNet-1k, which need none beside the folders' names.
    """

    index: Mapping[str, int]
    rule: str
    sha256: str


@dataclass(frozen=True)
class Wanted:
    """What labels are for.

    Attributes:
        folders: Names of all class folders, sorted.
        outputs: Number of logits.
        data: What the user called the data.
        model: What the network is called.
    """

    folders: Sequence[str]
    outputs: int
    data: str
    model: str

    @property
    def found(self) -> str:
        """What was found and what was expected."""
        many = len(self.folders)
        word = "folder" if many == 1 else "folders"
        return f"{many:,} class {word} in {self.data!r}, the network {self.model} has {self.outputs:,} outputs"


def labels_of(wanted: Wanted, classes: str | None) -> Labels:
    """The labels of class folders for a network.

    Args:
        wanted: Folders and network.
        classes: ``timm`` or ``torchvision`` for an order, the path of a mapping file, or None.

    Raises:
        DataError: No rule fits, orders disagree, or the file cannot be used.
    """
    if classes is None:
        index, rule = _automatic(wanted)
    elif classes in ORDERS:
        _check_count(wanted)
        index, rule = _numbered(sorted(wanted.folders, key=ORDERS[classes])), f"{classes}'s order of the folder names"
    else:
        index, rule = _mapped(wanted, user_path(classes)), f"file {Path(classes).name}"
    known = wanted.outputs == IMAGENET_CLASSES and index == _imagenet(wanted)
    return Labels(index, rule, "" if known else labels_hash(index))


def imagenet_index(outputs: int = IMAGENET_CLASSES) -> Mapping[str, int]:
    """Output by WordNet id and by index; empty where no subset of ImageNet has so many classes."""
    return _imagenet_index(outputs)


def _automatic(wanted: Wanted) -> tuple[Mapping[str, int], str]:
    index = _imagenet(wanted)
    if index is not None:
        return index, SUBSETS[wanted.outputs]
    if all(_NUMBER.fullmatch(name) and int(name) < wanted.outputs for name in wanted.folders):
        return {name: int(name) for name in wanted.folders}, "folder names are class indices"
    _check_count(wanted)
    plain, natural = (sorted(wanted.folders, key=ORDERS[one]) for one in (TORCHVISION, TIMM))
    if plain != natural:
        first = next(i for i, pair in enumerate(zip(plain, natural, strict=True)) if pair[0] != pair[1])
        raise DataError(
            f"the order of the class folders of {wanted.data!r} is not certain: class {first} is {plain[first]!r} for "
            f"torchvision and {natural[first]!r} for timm",
            f"say which of them the network was trained with: --classes {TORCHVISION} or --classes {TIMM}",
        )
    return _numbered(plain), "order of the folder names"


def _check_count(wanted: Wanted) -> None:
    """There must be as many folders as outputs.

    Raises:
        DataError: With both numbers, and what keeps the folders from being ImageNet's.
    """
    if len(wanted.folders) == wanted.outputs:
        return
    known = imagenet_index(wanted.outputs)
    foreign = [name for name in wanted.folders if name not in known]
    why = f"; {len(foreign):,} of the folders are no {SUBSETS[wanted.outputs]} class: {_some(foreign)}" if known else ""
    raise DataError(
        wanted.found + why,
        "expected a folder per output, folders named by WordNet id or class index, or a mapping with --classes FILE "
        "(columns folder, index)",
    )


def _imagenet(wanted: Wanted) -> Mapping[str, int] | None:
    known = imagenet_index(wanted.outputs)
    if not known or any(name not in known for name in wanted.folders):
        return None
    return {name: known[name] for name in wanted.folders}


@cache
def _imagenet_index(outputs: int) -> Mapping[str, int]:
    if outputs not in SUBSETS:
        return {}
    names = ImageNetInfo(SUBSETS[outputs]).label_names()
    return {name: i for i, name in enumerate(names)} | {str(i): i for i in range(len(names))}


def _mapped(wanted: Wanted, path: Path) -> Mapping[str, int]:
    rows = read_class_file(path)
    missing = [name for name in wanted.folders if name not in rows]
    if missing:
        raise DataError(
            f"{len(missing):,} of {len(wanted.folders):,} class folders of {wanted.data!r} are not in {str(path)!r}: "
            f"{_some(missing)}",
            "the file needs one row per class folder",
        )
    above = [name for name in wanted.folders if rows[name] >= wanted.outputs]
    if above:
        raise DataError(
            f"{str(path)!r} gives class folder {above[0]!r} the index {rows[above[0]]:,}, the network {wanted.model} has "
            f"{wanted.outputs:,} outputs",
            f"expected 0 to {wanted.outputs - 1}",
        )
    return {name: rows[name] for name in wanted.folders}


def _numbered(names: Iterable[str]) -> Mapping[str, int]:
    return {name: i for i, name in enumerate(names)}


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")


def labels_hash(index: Mapping[str, int]) -> str:
    """Hash of which class is which output."""
    digest = hashlib.sha256(f"class folders, form {FORM}\0".encode())
    for name in sorted(index):
        digest.update(os.fsencode(name) + b"\0" + str(index[name]).encode() + b"\0")
    return digest.hexdigest()


def _natural(name: str) -> tuple[list[tuple[str, int]], str]:
    """Timm's order: without regard to case, runs of digits by value; ties, which it leaves open, by character."""
    parts = re.split(r"(\d+)", name.lower())
    return [("", int(part)) if part.isdecimal() else (part, -1) for part in parts], name


def _by_character(name: str) -> tuple[list[tuple[str, int]], str]:
    return [], name


ORDERS: Mapping[str, Callable[[str], tuple[list[tuple[str, int]], str]]] = {TIMM: _natural, TORCHVISION: _by_character}
