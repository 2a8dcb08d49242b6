"""The calibration side in two parts: one calibrates, one judges, and neither labels nor the evaluation side are opened."""

import shutil

import pytest
import torch

from harness.data import image_files
from harness.data.decoding import Decoding
from harness.data.pixel_cache import PixelCache
from harness.data.preprocessing import Preprocessing
from harness.data.sets import UNLABELLED
from harness.data.sources import open_judged, open_source
from harness.errors import DataError
from harness.run.run_trial import run_trial
from harness.store.store import Store
from harness.trial.spec import HELD_OUT, TrialSpec
from tests.data.conftest import CLASSES, write_image

SMALL = Preprocessing((3, 24, 24), "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3)


def opened(data="embedded", **more):
    return open_judged(TrialSpec("minmax", data=str(data), judge=HELD_OUT, calib=4, **more))


def images_of(evaluation):
    return torch.cat([images for images, _ in evaluation.batches(64)])


def test_two_thirds_calibrate_and_one_third_judges(preprocessing):
    whole, parted = open_source("embedded"), opened()
    judges = images_of(parted.evaluation(None, preprocessing)).flatten(1)
    pool = parted.calibration(parted.calibration_size, 0, preprocessing).images.flatten(1)
    assert (len(pool), len(judges)) == (1334, 666)
    everything = whole.calibration(2000, 0, preprocessing).images.flatten(1)
    assert torch.equal(torch.cat([pool, judges]).sort(0).values, everything.sort(0).values)
    assert torch.equal(judges, images_of(opened().evaluation(None, preprocessing)).flatten(1)), "the same for everyone"


def test_a_folder_without_its_evaluation_images_judges_the_same(sides):
    folder = sides(6)
    before = images_of(opened(folder).evaluation(None, SMALL))
    for image in (folder / "val").rglob("*.png"):
        write_image(image, f"other {image.name}")
    assert torch.equal(before, images_of(opened(folder).evaluation(None, SMALL)))
    assert opened(folder).overlap(4, 0) == ()


def test_images_are_decoded_once_and_have_the_same_bits(sides, preprocessing_224, tmp_path, monkeypatch):
    """Every candidate of a choice is judged on the same images."""
    decodes, read = [], image_files.read_image
    monkeypatch.setattr(image_files, "read_image", lambda path, mode: (decodes.append(path), read(path, mode))[1])
    folder, cache = sides(6), PixelCache(tmp_path / "decoded")

    def both(source, size=64):
        batches = list(source.evaluation(None, preprocessing_224).batches(size))
        assert {int(label) for _, labels in batches for label in labels} == {UNLABELLED}
        return source.calibration(5, 0, preprocessing_224).images, torch.cat([images for images, _ in batches])

    reference = both(opened(folder))
    count = len(decodes)
    for size in (64, 1, 3):
        source = opened(folder).decoded_by(Decoding(cache))
        assert all(map(torch.equal, both(source, size), reference))
    assert len(decodes) == 2 * count == 2 * (5 + 4)
    known = source.decoded_sets((5, 0), None, preprocessing_224)
    assert [cache.has(one.key, one.shape) for one in known] == [True, True]
    assert len(source.decoded_sets(None, 2, preprocessing_224)) == 1
    assert opened(folder).decoded_sets((5, 0), None, preprocessing_224) == ()


def test_class_folders_say_nothing(sides):
    """Labels that no network has would be refused; here nobody looks at them."""
    folder = sides(6)
    for number, name in enumerate(CLASSES):
        for part in ("train", "val"):
            shutil.move(folder / part / name, folder / part / f"kind {number}")
    source = opened(folder).labelled(1000, "some network")
    assert {int(label) for _, labels in source.evaluation(None, SMALL).batches(2) for label in labels} == {UNLABELLED}


def test_changed_calibration_images_change_the_trial(sides):
    folder = sides(6)
    before = opened(folder).calibration_fingerprint(8, 0)
    for image in (folder / "train").rglob("*.png"):
        write_image(image, f"other {image.name}", size=(44, 50))
    assert opened(folder).calibration_fingerprint(8, 0) != before


def test_too_few_images_to_part(sides):
    with pytest.raises(DataError, match="has 2 calibration images, a held-out third needs 3 at least"):
        opened(sides(1))


def test_a_trial_is_judged_by_full_precision(tmp_path):
    """What would be accuracy is agreement, another trial than on evaluation images, on a board of its own."""
    store = Store(tmp_path)
    asked = {"method": "minmax", "bits": "w4a4", "calib": 16, "eval_limit": 60}
    held_out = run_trial(TrialSpec(**asked, judge=HELD_OUT), store).record
    usual = run_trial(TrialSpec(**asked), store).record
    assert held_out["status"] == "done", held_out.get("error")
    metrics = held_out["metrics"]
    assert metrics["top1"] == metrics["agreement"] < metrics["top1_fp32"] == 100
    assert held_out["id"] != usual["id"]
    assert "--judge held_out" in held_out["command"]
    assert usual["metrics"]["top1_fp32"] < 100
