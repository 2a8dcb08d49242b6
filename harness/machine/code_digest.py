"""The hash of a folder of code: its copies are named after it, and it is computed again before anything of a copy runs.

Only the standard library, and the file can be run as it is: a job on a cluster runs this text, which came with the job, in
front of everything that it imports from the copy.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

DIGITS = 32


def digest_of(folder: Path) -> str:
    """Hash over the name and content of everything in a folder that can be imported or read, links and odd files too.

    Raises:
        OSError: Something in it cannot be read.
    """
    whole = hashlib.sha256()
    for name, path in sorted(_files(folder)):
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b"no file"
        kind = b"file" if path.is_file() and not path.is_symlink() else b"other"
        for part in (os.fsencode(name), kind, content):
            whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:DIGITS]


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Everything but true folders, by relative name; links to folders are not walked into."""
    found = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        found += [(str((Path(place) / name).relative_to(folder)), Path(place) / name) for name in [*files, *links]]
    return found


def complaint(folder: Path) -> str:
    """What is wrong with a copy of the code; empty when its content is what its name says."""
    try:
        found = digest_of(folder) if folder.is_dir() and not folder.is_symlink() else "nothing"
    except OSError as error:
        return f"copy of the code {str(folder)!r} is not readable: {error}"
    if found == folder.name:
        return ""
    return f"copy of the code {str(folder)!r} was changed: its content is {found}, its name says {folder.name}"


if __name__ == "__main__":
    problem = complaint(Path(sys.argv[1]))
    if problem:
        print(f"error: {problem}; nothing of it was run", file=sys.stderr)
        sys.exit(2)
