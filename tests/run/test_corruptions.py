"""Corrupted evaluation images: what can be asked for, what a record says, and that nothing else of a trial moves."""

import importlib.machinery
import importlib.util
import sys
import types

import numpy as np
import pytest
import torch

from harness.data import corrupted
from harness.data.corrupted import CorruptedSet
from harness.data.preprocessing import Preprocessing
from harness.data.sets import TensorEvaluationSet
from harness.errors import UsageError
from harness.run.prepare import prepare
from harness.run.run_trial import Session, run_trial
from harness.store.store import Store
from harness.store.table import row
from harness.trial.corruptions import COMMON, NAMES, Corruption, canonical
from harness.trial.record_check import problems_of
from harness.trial.spec import TrialSpec

COLOUR = Preprocessing((3, 40, 48), "bicubic", 1.0, "center", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def noisy(image, corruption_name, severity, **more):
    """Stands for the library: draws from numpy's global generator, gives colour."""
    assert image.dtype == np.uint8
    assert min(image.shape[:2]) >= 32
    whole = np.repeat(image, 3 // image.shape[2], axis=2)
    return np.clip(whole + np.random.normal(size=whole.shape) * 10 * severity, 0, 255).astype(np.uint8)


@pytest.fixture
def library(monkeypatch):
    module = types.ModuleType("imagecorruptions")
    module.__spec__ = importlib.machinery.ModuleSpec("imagecorruptions", None)
    module.corrupt = noisy
    monkeypatch.setitem(sys.modules, "imagecorruptions", module)


def test_the_text_has_one_canonical_form():
    assert canonical("fog:2, gaussian_noise:3+fog:2") == "gaussian_noise:3,fog:2"
    assert canonical("common:1") == ",".join(f"{name}:1" for name in COMMON)
    assert TrialSpec("fqvit", corrupt="fog:2+snow:1").command("fqvit").endswith("--corrupt snow:1,fog:2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gausian_noise:3", "unknown corruption 'gausian_noise'. Did you mean gaussian_noise"),
        ("fog:6", "severity '6' of corruption fog is not possible: expected 1 to 5"),
        ("fog", "severity '' of corruption fog is not possible"),
        ("", "unknown corruption ''"),
    ],
)
def test_what_is_no_corruption_is_refused(text, said):
    with pytest.raises(UsageError) as caught:
        TrialSpec("fqvit", corrupt=text)
    assert said in str(caught.value)


def test_without_the_library_it_is_refused_before_any_work(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        corrupted.importlib.util, "find_spec", lambda name, *more: None if name == "imagecorruptions" else find(name, *more)
    )
    with pytest.raises(UsageError, match=r"pip install 'ptq-harness\[corruptions\]'"):
        prepare(TrialSpec("fqvit", corrupt="fog:2"))


@pytest.mark.parametrize("shape", [(3, 40, 48), (1, 28, 28)])
def test_pixels_do_not_depend_on_the_batch_and_the_generator_stays(library, shape):
    generator = torch.Generator().manual_seed(0)
    channels = shape[0]
    preprocessing = Preprocessing(shape, "bicubic", 1.0, "center", COLOUR.mean[:channels], COLOUR.std[:channels])
    pixels = torch.randint(0, 256, (5, *shape), generator=generator)
    clean = TensorEvaluationSet(preprocessing.normalise(pixels.float() / 255), torch.arange(5))
    found = CorruptedSet(clean, Corruption("fog", 2), preprocessing)
    np.random.seed(7)
    parts = list(found.batches(2))
    assert np.random.get_state()[1].tolist() == np.random.RandomState(7).get_state()[1].tolist()
    together, labels = next(iter(found.batches(5)))
    assert torch.equal(torch.cat([images for images, _ in parts]), together)
    assert labels.tolist() == [0, 1, 2, 3, 4]
    assert together.shape == (5, *shape)
    assert not torch.equal(together[0], together[1])
    assert torch.equal(found._input(found._bytes(clean._images)), clean._images.float())


def test_a_trial_with_corruptions_has_its_own_id_and_shares_the_rest(library, tmp_path):
    store, session = Store(tmp_path), Session()
    spec = {"method": "minmax", "calib": 8, "eval_limit": 40, "device": "cpu"}
    plain, _ = run_trial(TrialSpec(**spec), store, session=session)
    record, _ = run_trial(TrialSpec(**spec, corrupt="fog:2,snow:5"), store, session=session)
    assert problems_of(record) == []
    assert "corrupt" not in plain["spec"]
    assert "corruptions" not in plain
    assert record["spec"]["corrupt"] == "snow:5,fog:2"
    assert record["id"] != plain["id"]
    assert record["metrics"] == plain["metrics"]
    assert [(one["corruption"], one["severity"]) for one in record["corruptions"]] == [("snow", 5), ("fog", 2)]
    assert [one["name"] for one in record["stages"]] == [one["name"] for one in plain["stages"]]
    reused = [one["notes"] for one in record["stages"] if one["name"] == "minmax"]
    assert "reused" in reused[0]
    for one in record["corruptions"]:
        assert round((one["top1_fp32"] - one["top1"]) * 0.4) == one["lost"] - one["gained"]
    values = row(record)
    assert values["corrupt"] == "snow:5,fog:2"
    assert values["corrupted_top1"] == pytest.approx(np.mean([one["top1"] for one in record["corruptions"]]))
    assert row(plain)["corrupted_top1"] is None


@pytest.mark.skipif(importlib.util.find_spec("imagecorruptions") is None, reason="imagecorruptions is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_every_corruption_of_the_library_gives_the_same_pixels_again(name):
    generator = torch.Generator().manual_seed(1)
    clean = TensorEvaluationSet(COLOUR.normalise(torch.rand(2, *COLOUR.input_size, generator=generator)), torch.arange(2))
    found = CorruptedSet(clean, Corruption(name, 3), COLOUR)
    first, again = (next(iter(found.batches(2)))[0] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, clean._images)
