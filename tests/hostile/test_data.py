"""Odd images and odd folders: refused by name or read, never a bug, and nothing hangs."""

import itertools
import shutil

import pytest
import timm
from safetensors.torch import save_file
from timm.models._hub import save_config_for_hf

from harness.method.memo import Memo
from harness.run.failures import error_info
from harness.run.prepare import prepare
from harness.run.run_trial import TrialResult
from harness.trial.fields import LARGEST_INTEGER
from tests.hostile import images
from tests.hostile.damage import BYTES, documents
from tests.hostile.known import param
from tests.hostile.texts import PATHS, TEXTS
from tests.hostile.world import Case, settle
from tests.store.test_store import record

OPENED = Memo()


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small network of ImageNet's classes, with weights of no use."""
    path = tmp_path_factory.mktemp("network") / "weights.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    return ["--model", "test_vit", "--weights", str(path)]


@pytest.fixture
def run(world, network, monkeypatch):
    """Opens and decodes everything, both sides, and ends where the network would begin."""

    def decoded(spec, store, progress, **how):
        prepared = prepare(spec, OPENED)
        try:
            prepared.source.calibration(spec.calib, spec.seed, prepared.preprocessing)
            evaluation = prepared.source.evaluation(spec.eval_limit, prepared.preprocessing)
            assert sum(len(labels) for _, labels in evaluation.batches(4)) == len(evaluation)
        except Exception as error:
            return TrialResult(record(prepared.id, "failed", error=error_info(error)), False)
        metrics = {**record()["metrics"], "top5": 90.0, "logit_sqnr_db": 1.0}
        return TrialResult(record(prepared.id, metrics=metrics), False)

    monkeypatch.setattr("harness.run.run_trial.run_trial", decoded)

    def attempt(label, folder, given, fails, more=()):
        words = ["run", "--method", "minmax", "--data", str(folder), "--calib", "2", "--quiet", *network, *more]
        return world.attempt("data", Case(label, words, given, fails))

    return attempt


@pytest.mark.parametrize("name", [param("data", name) for name in images.FILES])
@pytest.mark.parametrize("side", ["train", "val"])
def test_one_odd_file(run, world, nightly, side, name):
    if not nightly and (list(images.FILES).index(name) + (side == "train")) % 2:
        pytest.skip("in the nightly form")
    root = images.tree(world.root / "outside" / "images")
    if side == "train":
        shutil.rmtree(root / "train" / images.CLASSES[0])
        (root / "train" / images.CLASSES[0]).mkdir()
        for old in (root / "train" / images.CLASSES[1]).iterdir():
            old.unlink()
        images.tree(world.root / "temporary" / "more", ("train",))
        shutil.move(world.root / "temporary/more/train/n01440764/n01440764_train_0.png", root / "train" / images.CLASSES[0])
        shutil.rmtree(world.root / "temporary" / "more")
    images.write(root / side / images.CLASSES[0] / name)
    given = (name, str(root)) if images.FILES[name][1] is None else (name,)  # left out: too few images may remain
    failures = run(f"{side} {name!r}", root, given, images.FILES[name][1])
    settle(failures)


@pytest.mark.parametrize("name", [param("data", name) for name in images.SHAPES])
def test_something_that_is_no_file(run, world, name):
    root = images.tree(world.root / "outside" / "images")
    images.SHAPES[name](root / "val" / images.CLASSES[0] / name)
    failures = run(name, root, (name,), None)
    settle(failures)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "PPM"])
def test_damaged_images(run, world, nightly, form):
    failures = []
    root = images.tree(world.root / "outside" / "images")
    path = root / "val" / images.CLASSES[0] / f"odd.{form.lower()}"
    for name, change in itertools.islice(BYTES.items(), 0, None, 1 if nightly else 8):
        path.write_bytes(change(images.encoded(form)))
        failures += run(f"{form} {name}", root, (path.name,), None)
    settle(failures)


def unknown_class(root):
    (root / "val" / "dogs").mkdir()
    return True


def notebook(root):
    (root / "val" / ".ipynb_checkpoints").mkdir()
    (root / "__MACOSX").mkdir()
    (root / "val" / "__MACOSX").mkdir()


def empty_class(root):
    (root / "val" / "n01484850").mkdir()


def no_images(root):
    for path in (root / "val").rglob("*.png"):
        path.unlink()
    return True


def loop(root):
    (root / "val" / "n01484850").symlink_to("n01484850")


def into_itself(root):
    (root / "val" / "n01484850").symlink_to(root / "val")


def dangling_class(root):
    (root / "val" / "n01484850").symlink_to("nowhere")


def no_val(root):
    (root / "val").rename(root / "other")
    return True


def val_is_a_file(root):
    shutil.rmtree(root / "val")
    (root / "val").write_text("x")


def odd_class(root):
    (root / "val" / "\udcff\x1b[2J").mkdir()
    return True


def file_among_classes(root):
    (root / "val" / "labels.txt").write_text("x")


FOLDERS = [unknown_class, notebook, empty_class, no_images, loop, into_itself, dangling_class, no_val, val_is_a_file]
FOLDERS += [odd_class, file_among_classes]


@pytest.mark.parametrize("name", [param("data", one.__name__) for one in FOLDERS])
def test_odd_folders(run, world, name):
    root = images.tree(world.root / "outside" / "images")
    fails = next(one for one in FOLDERS if one.__name__ == name)(root)
    failures = run(name, root, (str(root), "images"), fails)
    settle(failures)


PREPROCESSING = [
    "mean=nan",
    "mean=1,2",
    "mean=",
    "mean=a",
    "mean=inf,0,0",
    "std=0",
    "std=0,0,0",
    "std=nan,1,1",
    "std=-1,1,1",
    "crop_pct=0",
]
PREPROCESSING += [
    "crop_pct=nan",
    "crop_pct=1e-9",
    "crop_pct=2",
    "interpolation=x",
    "interpolation=",
    "recipe=x",
    "x=1",
    "=",
    "mean=1e39,0,0",
]


@pytest.mark.parametrize("text", [param("data", text) for text in PREPROCESSING])
def test_preprocessing_that_makes_no_sense(run, world, text):
    root = images.tree(world.root / "outside" / "images")
    failures = run(text, root, (text, *filter(None, text.split("=")), "preprocessing ''"), True, ["--preprocess", text])
    settle(failures)


@pytest.mark.parametrize("what", [param("data", "paths")])
def test_paths(run, nightly, what):
    failures = []
    for text in TEXTS if nightly else PATHS:
        given = (text, "data") if text.strip() else ()
        failures += run("path", text, given, None if text == "embedded" else True)
    settle(failures)


def test_numbers(run, world):
    failures = []
    root = images.tree(world.root / "outside" / "images")
    for number in ("0", "-1", "7", str(LARGEST_INTEGER), str(LARGEST_INTEGER + 1)):
        failures += run("number", root, (number,), True, ["--calib", number])
    settle(failures)


def test_damaged_class_files(run, world, nightly):
    failures = []
    root = images.tree(world.root / "outside" / "images")
    path = world.outside / "classes.csv"
    whole = "folder,index,name\n" + "".join(f"{name},{i},=1+1\n" for i, name in enumerate(images.CLASSES))
    for name, change in itertools.islice(BYTES.items(), 0, None, 1 if nightly else 4):
        path.write_bytes(change(whole.encode()))
        failures += run(f"classes {name}", root, (path.name,), None, ["--classes", str(path)])
    for text in PATHS if nightly else PATHS[::4]:
        given = (text, "class file") if text.strip() else ()
        failures += run("classes", root, given, None, [f"--classes={text}"])
    settle(failures)


def test_damaged_configurations(run, world, nightly, network):
    failures = []
    root, folder = images.tree(world.root / "outside" / "images"), world.outside / "checkpoint"
    folder.mkdir()
    shutil.copy(network[-1], folder / "model.safetensors")
    save_config_for_hf(timm.create_model("test_vit"), str(folder / "config.json"))
    whole = (folder / "config.json").read_text()
    damaged = {name: change(whole.encode()) for name, change in BYTES.items()}
    damaged |= dict(documents(whole, 1000 if nightly else 15))
    for name, content in itertools.islice(damaged.items(), 0, None, 1 if nightly else 3):
        (folder / "config.json").write_bytes(content)
        failures += run(f"config.json {name}", root, (str(folder), "test_vit"), None, ["--weights", str(folder)])
    settle(failures)
