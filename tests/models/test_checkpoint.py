"""Fine-tuned networks from a file or a folder in timm's layout: read as data, named by content, refused by name."""

import json
import os

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models._hub import save_config_for_hf

from harness.data.preprocessing import of_model
from harness.errors import ModelError
from harness.models.loading import load_model

CLASSES = 37


def write(folder, config=None, network=None):
    """A folder as timm writes it, with a changed configuration."""
    folder.mkdir(exist_ok=True)
    network = network or timm.create_model("test_vit", num_classes=CLASSES, img_size=32)
    save_file(network.state_dict(), folder / "model.safetensors")
    save_config_for_hf(network, str(folder / "config.json"))
    if config is not None:
        content = json.loads((folder / "config.json").read_text())
        config(content)
        (folder / "config.json").write_text(json.dumps(content))
    return folder


def test_a_folder_as_timm_writes_it(tmp_path):
    network = timm.create_model("test_vit", num_classes=CLASSES, img_size=32)
    folder = write(tmp_path / "own", lambda c: c["pretrained_cfg"].update(mean=[0.1, 0.2, 0.3], crop_pct=1.0), network)
    loaded = load_model("embedded", folder)
    assert loaded.classes == CLASSES
    assert loaded.name == f"test_vit.file-{loaded.weights_sha256[:8]}"
    assert (loaded.architecture, loaded.weights_source) == ("test_vit.r160_in1k", "folder own")
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded.network(images), network.eval()(images))
    preprocessing = of_model(loaded.network, {})
    assert (preprocessing.input_size, preprocessing.mean, preprocessing.crop_pct) == ((3, 32, 32), (0.1, 0.2, 0.3), 1.0)
    for name in ("test_vit", "test_vit.r160_in1k"):
        assert load_model(name, folder).name == loaded.name


def test_a_convolutional_network_with_grey_images(tmp_path):
    network = timm.create_model("test_resnet", num_classes=3, in_chans=1)
    grey = {"mean": [0.5], "std": [0.25], "input_size": [1, 64, 64]}
    loaded = load_model("embedded", write(tmp_path / "own", lambda c: c["pretrained_cfg"].update(grey), network))
    assert of_model(loaded.network, {}).input_size == (1, 64, 64)
    assert loaded.classes == 3


def test_a_file_may_have_another_number_of_classes(tmp_path):
    network = timm.create_model("test_vit", num_classes=CLASSES)
    save_file(network.state_dict(), tmp_path / "own.safetensors")
    loaded = load_model("test_vit.r160_in1k", tmp_path / "own.safetensors")
    assert loaded.classes == CLASSES
    assert loaded.name.startswith("test_vit.file-")
    assert torch.equal(loaded.network.head.weight, network.head.weight)


def test_another_model_than_the_folders_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"of architecture 'test_vit', --model says 'resnet18' \(leave out --model"):
        load_model("resnet18", write(tmp_path / "own"))


def test_a_folder_without_its_files(tmp_path):
    folder = write(tmp_path / "own")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"has no file model\.safetensors .*pickles are never read"):
        load_model("embedded", folder)
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(ModelError, match=r"has no file config\.json"):
        load_model("embedded", folder)


CHANGES = {
    "no architecture": (lambda c: c.pop("architecture"), "architecture: Field required"),
    "a path": (lambda c: c.update(architecture="../x"), "architecture: String should match pattern"),
    "a source": (lambda c: c.update(architecture="hf-hub:timm/resnet18"), "architecture: String should match pattern"),
    "an unknown one": (lambda c: c.update(architecture="test_vitt"), "unknown model 'test_vitt'"),
    "other classes": (lambda c: c.update(num_classes=38), "num_classes is not given, or differs"),
    "classes as text": (lambda c: c.update(num_classes="37"), "num_classes: Input should be a valid integer"),
    "far too many": (lambda c: c.update(num_classes=10**12), "num_classes: Input should be less than or equal to 100000"),
    "depth": (
        lambda c: c["model_args"].update(depth=10**9),
        r"model_args\.depth: not supported, expected one of num_classes, img_size",
    ),
    "a huge image": (lambda c: c["model_args"].update(img_size=10**6), r"model_args\.img_size"),
    "another pool": (lambda c: c["model_args"].update(global_pool="__import__"), r"model_args\.global_pool"),
    "arguments of another network": (lambda c: c.update(architecture="test_resnet"), "timm cannot build what"),
    "no preprocessing": (lambda c: c.pop("pretrained_cfg"), "pretrained_cfg: Field required"),
    "no mean": (lambda c: c["pretrained_cfg"].pop("mean"), r"pretrained_cfg\.mean: Field required"),
    "one mean": (lambda c: c["pretrained_cfg"].update(mean=[0.5]), "mean and std need 3 numbers"),
    "no number": (lambda c: c["pretrained_cfg"].update(mean=[float("nan")] * 3), r"pretrained_cfg\.mean\.0"),
    "no deviation": (lambda c: c["pretrained_cfg"].update(std=[0, 1, 1]), r"pretrained_cfg\.std\.0"),
    "a filter": (lambda c: c["pretrained_cfg"].update(interpolation="x"), "interpolation 'x', expected one of bicubic"),
    "a crop": (lambda c: c["pretrained_cfg"].update(crop_mode="x"), "crop_mode 'x', expected one of"),
    "no image": (lambda c: c["pretrained_cfg"].update(input_size=[3, 0, 32]), r"input_size\.1: Input should be greater"),
    "other shapes": (lambda c: c["model_args"].update(img_size=64), "pos_embed has another shape"),
    "a terminal": (lambda c: c["model_args"].update({"\x1b[31m": 1}), "not supported, expected one of"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_not_understood_is_named(tmp_path, name):
    change, said = CHANGES[name]
    folder = write(tmp_path / "own", change)
    with pytest.raises(ModelError, match=said) as caught:
        load_model("embedded", folder)
    assert str(caught.value).isprintable()
    assert str(folder) in str(caught.value) or "test_vitt" in said


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "{", "\xff", '{"architectures": ["ViTForImageClassification"]}'])
def test_configurations_of_something_else(tmp_path, text):
    folder = write(tmp_path / "own")
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(ModelError, match="is not timm's configuration of a classifier"):
        load_model("embedded", folder)


def test_what_only_training_uses_may_stand_there(tmp_path):
    folder = write(tmp_path / "own", lambda c: c["model_args"].update(drop_path_rate=0.1, drop_rate=0.5))
    assert load_model("embedded", folder).classes == CLASSES
