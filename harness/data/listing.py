"""Which files of a folder are images of which class.

A file counts when its name ends with one of ``EXTENSIONS``. Left out: hidden names (``.ipynb_checkpoints``, ``._x.jpg``),
what operating systems leave behind (``LEFT_BEHIND``, ``Thumbs.db``), other files, and folders inside class folders.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from timm.data import ImageNetInfo

from harness.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm")
LEFT_BEHIND = frozenset(("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"))


@dataclass(frozen=True)
class Side:
    """Images of one side of a data set. Plain texts: a million of them take a tenth of the memory of paths.

    Attributes:
        folder: Where the class folders are.
        names: ``class/file``, sorted.
        labels: Class index of each.
    """

    folder: Path
    names: list[str]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        """Where an image lies."""
        return os.path.join(self.folder, self.names[index])

    def chosen(self, keep: list[bool]) -> Side:
        """The images that are marked."""
        index = [i for i, kept in enumerate(keep) if kept]
        return Side(self.folder, [self.names[i] for i in index], [self.labels[i] for i in index])


def scan(folder: Path) -> Side:
    """All images below the class folders of ``folder``, sorted by class folder, then by file name.

    Raises:
        DataError: There are no images, class folders that are neither WordNet ids nor class indices, a link that leads
            nowhere, or something that cannot be listed.
    """
    wnids = _class_index()
    folders = sorted(entry.name for entry in _entries(folder) if _is(entry, "is_dir"))
    unknown = [name for name in folders if name not in wnids]
    if unknown:
        raise DataError(
            f"{len(unknown)} class folder(s) of {str(folder)!r} are no ImageNet-1k class, first {unknown[0]!r}",
            "expected WordNet ids such as n01440764, or class indices 0 to 999",
        )
    side = Side(folder, [], [])
    for name in folders:
        files = _images(folder / name)
        side.names.extend(f"{name}/{file}" for file in files)
        side.labels.extend([wnids[name]] * len(files))
    if not side.names:
        raise DataError(f"no images in {str(folder)!r}: expected class folders with {', '.join(EXTENSIONS)} files")
    return side


def listed(folder: Path, names: Sequence[str]) -> Side:
    """Images of a list instead of a scan, sorted by class folder, then by file name.

    Args:
        folder: Where the class folders are.
        names: ``class/file``; classes are WordNet ids or class indices.

    Raises:
        DataError: A class is none of ImageNet-1k.
    """
    wnids = _class_index()
    ordered = sorted(names)
    for name in ordered:
        if name.partition("/")[0] not in wnids:
            raise DataError(f"{name!r} of the list of {str(folder)!r} is in no ImageNet-1k class", "expected n01440764/...")
    return Side(folder, ordered, [wnids[name.partition("/")[0]] for name in ordered])


def ignored(name: str) -> bool:
    """Whether a file or folder is nothing that a person put there."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def _images(folder: Path) -> list[str]:
    """Names of the image files of a class folder."""
    found = []
    for entry in _entries(folder):
        if os.path.splitext(entry.name)[1].lower() not in EXTENSIONS or _is(entry, "is_dir"):
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


def _is(entry: os.DirEntry[str], what: str) -> bool:
    """Whether an entry, or what it links to, is a file or a folder. Only links cost a look at the disk."""
    try:
        if entry.is_symlink():
            os.stat(entry.path)
        return entry.is_dir() if what == "is_dir" else entry.is_file()
    except OSError as error:
        raise DataError(f"{entry.path!r} is a symbolic link that leads nowhere: {error.strerror}") from error


def _class_index() -> dict[str, int]:
    labels = ImageNetInfo("imagenet-1k").label_names()
    return {name: i for i, name in enumerate(labels)} | {str(i): i for i in range(len(labels))}
