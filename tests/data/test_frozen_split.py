"""Choices of defaults are made on a fixed part of the training side, without labels and without evaluation images."""

import hashlib

import pytest
import torch
from PIL import Image

from harness.data.frozen_split import frozen_split, parted_files
from harness.data.preprocessing import of_model
from harness.errors import DataError
from harness.models.loading import load_model
from tests.shared import IMAGES, requires_images


@pytest.fixture(scope="module")
def preprocessing():
    return of_model(load_model("embedded").network, {})


def test_the_embedded_split_is_fixed(preprocessing):
    split, again = frozen_split("embedded", preprocessing), frozen_split("embedded", preprocessing)
    assert (len(split.pool), len(split.held_out)) == (1334, 666)
    assert torch.equal(split.held_out, again.held_out)
    pool = {image.numpy().tobytes() for image in split.pool}
    assert not pool & {image.numpy().tobytes() for image in split.held_out}
    drawn = split.calibration(32, 1)
    assert {image.numpy().tobytes() for image in drawn.images} <= pool
    assert not torch.equal(drawn.images, split.calibration(32, 2).images)
    assert not hasattr(drawn, "labels")
    with pytest.raises(DataError, match="1 to 1334"):
        split.calibration(1335, 0)


def test_a_folder_is_split_by_the_names_of_its_files(tmp_path, preprocessing):
    for index in range(9):
        path = tmp_path / "train" / f"n{index % 2}" / f"image{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), 20 * index).save(path)
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "broken.png").write_text("never opened")
    pool, held_out = parted_files(tmp_path / "train")
    assert (len(pool), len(held_out)) == (6, 3)
    moved = tmp_path / "train" / "other"
    moved.mkdir()
    pool[0].rename(moved / pool[0].name)
    assert [path.name for path in parted_files(tmp_path / "train")[0]] == [path.name for path in pool]
    split = frozen_split(str(tmp_path), preprocessing)
    assert (len(split.pool), len(split.held_out)) == (6, 3)


def test_what_is_missing_is_named(tmp_path, preprocessing):
    with pytest.raises(DataError, match="no folder train"):
        frozen_split(str(tmp_path), preprocessing)
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="needs 3 at least"):
        frozen_split(str(tmp_path), preprocessing)
    for index in range(3):
        (tmp_path / "train" / f"{index}.jpg").write_text("no image")
    with pytest.raises(DataError, match="cannot be read"):
        frozen_split(str(tmp_path), preprocessing)


@requires_images
def test_the_images_beside_the_checkout_are_always_split_in_the_same_way():
    pool, held_out = parted_files(IMAGES / "train")
    assert (len(pool), len(held_out)) == (400, 200)
    names = "\n".join(path.name for path in held_out)
    assert hashlib.sha256(names.encode()).hexdigest()[:16] == "ca3739d0e4c96c90"
