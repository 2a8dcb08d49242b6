"""Calibration and evaluation images: drawn by seed, from separate sides, with clear errors."""

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.preprocessing import of_model
from harness.data.sets import spaced
from harness.data.sources import open_source
from harness.errors import DataError, UsageError
from tests.shared import IMAGES, requires_images


@pytest.fixture
def folder(tmp_path):
    def make(*parts, count=6, wnids=("n01440764", "n01443537")):
        for part in parts or (".",):
            for wnid in wnids:
                (tmp_path / part / wnid).mkdir(parents=True)
                for index in range(count):
                    pixels = np.random.default_rng([*part.encode(), *wnid.encode(), index]).integers(
                        0, 255, (40, 50, 3), np.uint8
                    )
                    Image.fromarray(pixels).save(tmp_path / part / wnid / f"{wnid}_{part}_{index}.png")
        return tmp_path

    return make


def test_embedded_source(preprocessing):
    source = open_source("embedded")
    evaluation = source.evaluation(50, preprocessing)
    images, labels = next(iter(evaluation.batches(50)))
    assert source.calibration_size == 2000
    assert images.shape == (50, 1, 28, 28)
    assert len(evaluation) == len(labels) == 50
    assert abs(float(images.mean())) < 0.3


def test_calibration_draw_is_seeded_and_a_prefix_of_larger_draws(preprocessing):
    source = open_source("embedded")
    small, large = source.calibration(5, 1, preprocessing), source.calibration(9, 1, preprocessing)
    assert torch.equal(small.images, large.images[:5])
    assert not torch.equal(small.images, source.calibration(5, 2, preprocessing).images)
    assert vars(small).keys() == {"images"}, "a calibration set has no labels"


def test_batches(calibration):
    assert [len(batch) for batch in calibration.batches(5)] == [5, 5, 5, 1]
    assert [len(batch) for batch in calibration.batches(5, drop_incomplete=True)] == [5, 5, 5]
    assert [len(batch) for batch in calibration.batches(50, drop_incomplete=True)] == [16]


@pytest.mark.parametrize(("count", "message"), [(0, "0 calibration images"), (-1, "expected 1 to"), (2001, "has 2000")])
def test_impossible_calibration_sizes(count, message, preprocessing):
    with pytest.raises(DataError, match=message):
        open_source("embedded").calibration(count, 0, preprocessing)


def test_evenly_spaced_choice():
    assert spaced(10, 5) == [0, 2, 4, 6, 8]
    assert spaced(3, None) == spaced(3, 99) == [0, 1, 2]
    with pytest.raises(DataError, match="at least 1"):
        spaced(3, 0)


def test_train_and_val_stay_apart(folder, preprocessing):
    source = open_source(str(folder("train", "val")))
    assert source.calibration_size == 12
    assert "train/" in source.split
    _, labels = next(iter(source.evaluation(None, preprocessing).batches(50)))
    assert labels.tolist() == [0] * 6 + [1] * 6


def test_one_tree_is_split_without_overlap(folder, preprocessing):
    source = open_source(str(folder(count=40)))
    evaluation = len(source.evaluation(None, preprocessing))
    assert source.calibration_size + evaluation == 80
    assert 5 < source.calibration_size < 30
    assert source.fingerprint == open_source(source.name).fingerprint


def test_class_indices_as_folder_names(folder, preprocessing):
    source = open_source(str(folder("train", "val", wnids=("7", "999"))))
    _, labels = next(iter(source.evaluation(None, preprocessing).batches(50)))
    assert set(labels.tolist()) == {7, 999}


def test_fingerprint_changes_with_the_files(folder):
    root = folder("train", "val")
    before = open_source(str(root)).fingerprint
    next((root / "val" / "n01440764").iterdir()).unlink()
    assert open_source(str(root)).fingerprint != before


def test_wrong_folders(folder, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        open_source(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        open_source(str(tmp_path / "empty"))
    (tmp_path / "cats" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="no images"):
        open_source(str(tmp_path / "cats"))


def test_an_unreadable_image_is_named(folder, preprocessing):
    root = folder("train", "val")
    (root / "train" / "n01440764" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png"):
        open_source(str(root)).calibration(13, 0, preprocessing)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"crop": "1"}, "Did you mean crop_pct"),
        ({"crop_pct": "2"}, "from 0.01 to 1"),
        ({"interpolation": "cubic"}, "Did you mean bicubic"),
        ({"mean": "x"}, "not valid"),
        ({"mean": "0.1,0.2"}, r"has 2 number\(s\), expected 1"),
        ({"std": "0.1 0.2 0.3"}, r"has 3 number\(s\), expected 1"),
    ],
)
def test_wrong_preprocessing(override, message, embedded):
    with pytest.raises(UsageError, match=message):
        of_model(embedded.network, override)


def test_overrides_are_taken(embedded):
    changed = of_model(embedded.network, {"crop_pct": "0.5", "mean": "0.1"})
    assert (changed.crop_pct, changed.mean) == (0.5, (0.1,))


@requires_images
def test_imagenet_sample(preprocessing):
    source = open_source(str(IMAGES))
    assert source.calibration_size == 600
    assert len(source.evaluation(None, preprocessing)) == 500
