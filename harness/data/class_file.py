"""Mapping files: which class folder stands for which output, as CSV or TSV with the columns folder, index and name."""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from harness.errors import DataError

FOLDER, INDEX = "folder", "index"
MAX_BYTES = 2**24  # a row of 21,843 classes has some 30 bytes
LARGEST_INDEX = 10**9
EXPECTED = "expected CSV or TSV (UTF-8) whose first line names the columns folder and index; name is for people"


def read_class_file(path: Path) -> dict[str, int]:
    """Output of the network by class folder. Several folders may stand for one output.

    Args:
        path: The file. Columns other than ``folder`` and ``index`` are not read.

    Raises:
        DataError: It is no regular file, too large, no text, has no such columns, an index is no whole number, or a folder
            stands twice with different indices.
    """
    text = _text(path)
    separator = "\t" if "\t" in text.partition("\n")[0] else ","
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        columns = {str(name).strip().lower(): name for name in reader.fieldnames or ()}
        if FOLDER not in columns or INDEX not in columns:
            raise DataError(f"class file {str(path)!r} has the columns {sorted(columns)}", EXPECTED)
        rows = [(reader.line_num, row[columns[FOLDER]] or "", row[columns[INDEX]] or "") for row in reader]
    except csv.Error as error:
        raise DataError(f"class file {str(path)!r} cannot be read: {error}", EXPECTED) from error
    return _checked(path, rows)


def _checked(path: Path, rows: Iterable[tuple[int, str, str]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for line, folder, text in rows:
        if not (text.strip().isascii() and text.strip().isdecimal()) or len(text.strip()) > len(str(LARGEST_INDEX)):
            raise DataError(f"class file {str(path)!r}, line {line}: index {text[:40]!r} is no whole number from 0 on")
        if found.setdefault(folder, int(text)) != int(text):
            raise DataError(
                f"class file {str(path)!r}, line {line}: folder {folder!r} has two indices, {found[folder]} and {int(text)}"
            )
    if not found:
        raise DataError(f"class file {str(path)!r} has no rows", EXPECTED)
    return found


def _text(path: Path) -> str:
    """The content; names of folders that are no UTF-8 stay what they are.

    Raises:
        DataError: There is no such file, or it is no file of text.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            raise DataError(f"class file {str(path)!r} is no file", EXPECTED)
        if found.st_size > MAX_BYTES:
            raise DataError(f"class file {str(path)!r} has {found.st_size:,} bytes, expected at most {MAX_BYTES:,}")
        return path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"class file {str(path)!r} cannot be read: {reason}",
            "expected a file, or the word timm or torchvision for their order of the folder names",
        ) from error
