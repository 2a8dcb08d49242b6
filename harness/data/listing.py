"""Which files of a folder are images of which class.

A file counts when its name ends with one of ``EXTENSIONS``. Left out: hidden names (``.ipynb_checkpoints``, ``._x.jpg``),
what operating systems leave behind (``LEFT_BEHIND``, ``Thumbs.db``), other files, and folders inside class folders.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.data.content import THREADS, Say, Spoken, silent
from harness.data.folder_index import FolderIndex, Listed, folder_state
from harness.data.labels import imagenet_index
from harness.data.names import Names, joined
from harness.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm")
LEFT_BEHIND = frozenset(("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"))
CHUNK = 64  # class folders between two looks at the clock


@dataclass(frozen=True)
class Side:
    """Images of one side of a data set.

    Attributes:
        folder: Where the class folders are.
        classes: Names of all class folders, sorted, also of those without images.
        names: ``class/file``, sorted.
    """

    folder: Path
    classes: list[str]
    names: Names

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        """Where an image lies."""
        return os.path.join(self.folder, self.names[index])

    def class_of(self, index: int) -> str:
        """The class folder of an image."""
        return self.names[index].partition("/")[0]

    def chosen(self, keep: list[bool]) -> Side:
        """The images that are marked."""
        return Side(self.folder, self.classes, Names.of(name for name, kept in zip(self.names, keep, strict=True) if kept))


def scan(folder: Path, say: Say = silent) -> Side:
    """All images below the class folders of ``folder``, sorted by class folder, then by file name.

    Class folders are listed by several threads, and not again while their times stay (``harness/data/folder_index.py``).

    Args:
        folder: Where the class folders are.
        say: Gets a line of text now and then when it takes more than a few seconds.

    Raises:
        DataError: There are no images, a link that leads nowhere, or something that cannot be listed.
    """
    classes = sorted(entry.name for entry in _entries(folder) if _is(entry, "is_dir"))
    index = FolderIndex(folder)
    known = index.read()
    found: dict[str, Listed] = {}
    spoken = Spoken(say)
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(classes), CHUNK):  # a chunk at a time, so that Ctrl-C waits for few
            chunk = classes[start : start + CHUNK]
            found.update(zip(chunk, pool.map(lambda name: _listed(folder, name, known), chunk), strict=True))
            spoken.now(f"listing images of {folder}: {len(found)} of {len(classes)} class folders")
    index.keep(known, found)
    names = Names((one, found[one].files) for one in classes)
    if not len(names):
        raise DataError(f"no images in {str(folder)!r}: expected class folders with {', '.join(EXTENSIONS)} files")
    return Side(folder, classes, names)


def listed(folder: Path, names: Sequence[str]) -> Side:
    """Images of a list instead of a scan, sorted by class folder, then by file name.

    Args:
        folder: Where the class folders are.
        names: ``class/file``; classes are WordNet ids or class indices.

    Raises:
        DataError: A class is none of ImageNet-1k.
    """
    known = imagenet_index()
    ordered = sorted(names)
    classes = sorted({name.partition("/")[0] for name in ordered})
    unknown = next((name for name in ordered if name.partition("/")[0] not in known), None)
    if unknown is not None:
        raise DataError(f"{unknown!r} of the list of {str(folder)!r} is in no ImageNet-1k class", "expected n01440764/...")
    return Side(folder, classes, Names.of(ordered))


def ignored(name: str) -> bool:
    """Whether a file or folder is nothing that a person put there."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def _listed(folder: Path, name: str, known: Mapping[str, Listed]) -> Listed:
    """The image files of a class folder; what is known of it where it did not change since."""
    state = folder_state(folder / name)
    before = known.get(name)
    if before is not None and state is not None and before.state == state:
        return before
    return Listed(state, joined(_images(folder / name)))


def _images(folder: Path) -> list[str]:
    """Names of the image files of a class folder."""
    found = []
    for entry in _entries(folder):
        if not entry.name.lower().endswith(EXTENSIONS):
            continue
        if not _is_plain(entry):
            if _is(entry, "is_dir"):
                continue
            if not _is(entry, "is_file"):
                raise DataError(f"image {entry.path!r} is no regular file")
        found.append(entry.name)
    return sorted(found)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not ignored(entry.name))
    except OSError as error:
        raise DataError(f"folder {str(folder)!r} cannot be listed: {error.strerror}") from error


def _is_plain(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file itself, which nearly all are; most file systems tell that without a look at it."""
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:  # the longer way tells what is wrong
        return False


def _is(entry: os.DirEntry[str], what: str) -> bool:
    """Whether an entry, or what it links to, is a file or a folder. Only links cost a look at the disk."""
    try:
        if entry.is_symlink():
            os.stat(entry.path)
        return entry.is_dir() if what == "is_dir" else entry.is_file()
    except OSError as error:
        raise DataError(f"{entry.path!r} is a symbolic link that leads nowhere: {error.strerror}") from error
