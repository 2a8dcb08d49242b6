"""Loading networks: wrong names and wrong weights end with one clear message."""

import pytest
import torch
from safetensors.torch import save_file

from harness.embedded import assets
from harness.errors import ModelError
from harness.models import loading as models
from harness.models.loading import load_model


def test_embedded_model(embedded):
    assert embedded.name == "vit_pico_patch4_28.fashion_mnist"
    assert embedded.classes == 10
    assert assets.WEIGHTS.stat().st_size < 5e6
    assert assets.IMAGES.stat().st_size < 8e6
    assert load_model("vit_pico_patch4_28").weights_sha256 == embedded.weights_sha256


def test_unknown_model():
    with pytest.raises(ModelError, match="Did you mean deit_tiny_patch16_224"):
        load_model("deit_tiny_patch16_225")


def test_offline_without_weights(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("timm.create_model", refuse)
    with pytest.raises(ModelError, match=r"could not be downloaded: ConnectionError.*--weights FILE"):
        load_model("resnet18")


def corrupted(tmp_path, network, **changes):
    tensors = {key: value.clone() for key, value in network.state_dict().items()}
    for key, value in changes.items():
        if value is None:
            del tensors[key.replace("__", ".")]
        else:
            tensors[key.replace("__", ".")] = value
    path = tmp_path / "weights.safetensors"
    save_file(tensors, path)
    return path


def test_missing_and_corrupt_files(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        load_model("embedded", tmp_path / "none.safetensors")
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00not json")
    with pytest.raises(ModelError, match="no readable safetensors file"):
        load_model("embedded", path)
    path.write_bytes(assets.WEIGHTS.read_bytes()[:5000])
    with pytest.raises(ModelError, match="no readable safetensors file"):
        load_model("embedded", path)


def test_weights_of_another_network(tmp_path, embedded):
    path = corrupted(tmp_path, embedded.network, head__bias=None, extra=torch.ones(1), head__weight=torch.ones(3, 3))
    with pytest.raises(
        ModelError, match=r"head.bias is missing; extra is not part of the model; head.weight has another shape"
    ):
        load_model("embedded", path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path, embedded, value):
    path = corrupted(tmp_path, embedded.network, head__bias=torch.full((10,), value))
    with pytest.raises(ModelError, match=r"tensor head.bias contains NaN or infinity"):
        load_model("embedded", path)


def test_fused_attention_is_off(embedded):
    assert not embedded.network.blocks[0].attn.fused_attn
    assert models.full_name("embedded") == embedded.name
