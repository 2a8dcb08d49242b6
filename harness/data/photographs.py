"""The photographs that come with the project: 500 of ImageNet's classes, 100 for calibration and 400 for evaluation.

``photos/split.csv`` says which is on which side. It was made once, by ``split_of`` from the names of the files alone, and
does not change: the images of a result are those of every other one. ``photos/attribution.csv`` names who took them.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from harness.data.content import Say, silent
from harness.data.folders import FileSource
from harness.data.listing import listed
from harness.errors import DataError
from harness.trial.spec import PHOTOS

FOLDER = Path(__file__).parent / "photos"
SPLIT = "split.csv"
CALIBRATION, EVALUATION = "calibration", "evaluation"
CALIBRATION_COUNT = 100


def photographs(say: Say = silent, folder: Path = FOLDER) -> FileSource:
    """The data source.

    Args:
        say: Gets a line of text now and then when hashing takes more than a few seconds.
        folder: Where the photographs and their list are.

    Raises:
        DataError: The list or a photograph is not there.
    """
    sides = _listed_sides(folder)
    calibration, evaluation = (
        listed(folder, [n for n, s in sides.items() if s == side]) for side in (CALIBRATION, EVALUATION)
    )
    split = f"a fixed list: {len(calibration)} for calibration, {len(evaluation)} for evaluation"
    return FileSource(PHOTOS, calibration, evaluation, split, say)


def _listed_sides(folder: Path) -> dict[str, str]:
    """Sides by ``class/file``.

    Raises:
        DataError: The list is not there, or a photograph of it.
    """
    try:
        with (folder / SPLIT).open(encoding="utf-8", newline="") as file:
            sides = {row["image"]: row["side"] for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError) as error:
        raise _missing(folder, f"{SPLIT} cannot be read: {error}") from error
    gone = [name for name in sides if not (folder / name).is_file()]
    if gone:
        raise _missing(folder, f"{len(gone)} of {len(sides)} files, first {gone[0]!r}")
    return sides


def _missing(folder: Path, what: str) -> DataError:
    return DataError(
        f"the photographs of --data {PHOTOS} are not in {str(folder)!r}: {what}",
        f"install the project again or use a checkout; a folder called {PHOTOS} of your own is --data ./{PHOTOS}",
    )


def split_of(names: Iterable[str]) -> dict[str, str]:
    """The side of every photograph by its name alone: every class is evaluated, none calibrates twice.

    Calibration takes one image of a class, from the classes with the most images first, so that the classes that are
    evaluated differ as little as possible in size. Ties are broken by the SHA-256 of the file's name.

    Args:
        names: ``class/file``.
    """
    by_class: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names, key=_order):
        by_class[name.partition("/")[0]].append(name)
    first = sorted((images for images in by_class.values() if len(images) > 1), key=lambda one: (-len(one), _order(one[0])))
    drawn = {images[0] for images in first[:CALIBRATION_COUNT]}
    everything = sorted(name for images in by_class.values() for name in images)
    return {name: CALIBRATION if name in drawn else EVALUATION for name in everything}


def _order(name: str) -> str:
    return hashlib.sha256(name.partition("/")[2].encode()).hexdigest()
