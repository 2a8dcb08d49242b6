"""Loading networks: wrong names and wrong weights end with one clear message."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from harness.embedded import assets
from harness.errors import ModelError
from harness.models import loading as models
from harness.models.cards import cards
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


WRONG_TYPES = [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", WRONG_TYPES, ids=str)
def test_weights_that_are_no_floats_are_refused(tmp_path, embedded, dtype):
    path = corrupted(tmp_path, embedded.network, head__bias=torch.zeros(10).to(dtype))
    expected = rf"head.bias is {str(dtype).removeprefix('torch.')}, expected float32 or float16 or bfloat16 or float64"
    with pytest.raises(ModelError, match=expected):
        load_model("embedded", path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_widths_of_floats_are_weights(tmp_path, embedded, dtype):
    path = corrupted(tmp_path, embedded.network, head__bias=embedded.network.head.bias.detach().to(dtype))
    assert load_model("embedded", path).network.head.bias.dtype == torch.float32


def test_a_number_that_float32_does_not_hold_is_refused(tmp_path, embedded):
    path = corrupted(tmp_path, embedded.network, head__bias=torch.full((10,), 1e300, dtype=torch.float64))
    with pytest.raises(ModelError, match=r"tensor head.bias contains NaN or infinity"):
        load_model("embedded", path)


def header(text):
    return len(text).to_bytes(8, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        header('{"head.bias": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}') + b"\0",
        header('{"head.bias": {"dtype": "F8_E8M0", "shape": [1], "data_offsets": [0, 1]}}') + b"\0",
        header('{"head.bias": {"dtype": "Q7", "shape": [1], "data_offsets": [0, 1]}}') + b"\0",
        header("[]"),
        b"\xff" * 8 + b"{}",
    ],
    ids=["nothing", "F4", "F8_E8M0", "unknown type", "a list", "huge header"],
)
def test_odd_files_end_with_their_name(content, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.safetensors"):
        load_model("embedded", path)


@pytest.mark.parametrize(
    ("name", "said"), [("x" * 5000, "does not exist"), ("broken", "does not exist"), ("folder", "has no file config.json")]
)
def test_places_without_a_file(name, said, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken").symlink_to(tmp_path / "broken")
    with pytest.raises(ModelError, match=said):
        load_model("embedded", tmp_path / name)


def test_what_timm_repeats_cannot_steer_a_terminal():
    with pytest.raises(ModelError) as caught:
        load_model("test_vit.\x1b[31m")
    assert str(caught.value).isprintable()


def test_weights_of_a_file_never_bear_a_tag(tmp_path, embedded):
    own = load_model("test_vit.r160_in1k", random_weights(tmp_path, "test_vit"))
    assert own.name == f"test_vit.file-{own.weights_sha256[:8]}"
    assert own.architecture == "test_vit.r160_in1k"
    assert load_model("test_vit", tmp_path / "test_vit.safetensors").name == own.name
    path = corrupted(tmp_path, embedded.network, head__bias=torch.zeros(10))
    assert load_model("embedded", path).name.startswith("vit_pico_patch4_28.file-")


def random_weights(folder, name):
    path = folder / f"{name}.safetensors"
    save_file(timm.create_model(name, pretrained=False).state_dict(), path)
    return path


def test_a_file_with_the_very_weights_of_the_tag_bears_it(tmp_path, embedded):
    copy = corrupted(tmp_path, embedded.network)
    assert load_model("embedded", copy).name == embedded.name == "vit_pico_patch4_28.fashion_mnist"
    assert cards()[embedded.name].weights_sha256 == embedded.weights_sha256


def test_the_name_of_a_file_is_no_model():
    with pytest.raises(ModelError, match=r"--model test_vit --weights FILE\.safetensors"):
        load_model("test_vit.file-0123abcd")
