"""Small made-up image folders, and a cache of hashes of their own."""

import os

import numpy as np
import pytest
from PIL import Image

from harness.data.preprocessing import Preprocessing

CLASSES = ("n01440764", "n01443537")
LONG_AGO = 1_000_000_000  # seconds: what has just been written is not kept in the cache


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def sides(tmp_path):
    """Makes ``train/`` and ``val/`` with images that all differ; returns the folder."""

    def make(count=3):
        for part in ("train", "val"):
            for wnid in CLASSES:
                (tmp_path / "data" / part / wnid).mkdir(parents=True)
                for index in range(count):
                    write_image(tmp_path / "data" / part / wnid / f"{part}_{index}.png", f"{part}/{wnid}/{index}")
        return tmp_path / "data"

    return make


def write_image(path, what, size=(40, 50)):
    """A picture of noise that differs for every ``what``, written long ago."""
    pixels = np.random.default_rng(list(what.encode())).integers(0, 255, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def preprocessing_224():
    """What most networks of the papers ask for."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return Preprocessing((3, 224, 224), "bicubic", 0.9, "center", mean, std)
