"""Disks that are full or read-only, real where this machine lets us mount one, and made up elsewhere."""

import errno
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest


def fill(folder):
    """Leave no byte free."""
    with (folder / "filler").open("wb", buffering=0) as handle, suppress(OSError):
        for size in (2**16, 512):
            with suppress(OSError):
                while True:
                    handle.write(bytes(size))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    asked = ["mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(asked, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no small disk here: {error}")
    if mounted.returncode:
        pytest.skip(f"no small disk here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def make_read_only(place):
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)


def full_for(monkeypatch, name, number=errno.ENOSPC):
    """Files of this name can be written aside, but no more put into their place."""
    real = os.replace

    def replace(source, target):
        if Path(target).match(name):
            raise OSError(number, os.strerror(number))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


def left_over(root):
    """Temporary files, and folders with nothing in them."""
    return [path for path in root.rglob("*") if path.name.startswith(".") or (path.is_dir() and not any(path.iterdir()))]
