"""FQ-ViT's released code on ``deit_tiny``: every scale and zero point, and the quantized logits.

Rounding chains amplify the last bit of a float32 sum: two correct implementations drift apart layer by layer. So the
distance of our logits to the released code's is compared with the distance of our own network to itself when its
matrix products are computed in float64, which is the floor that any second implementation meets.
"""

import json

import numpy as np
import pytest
import torch

from harness.data.sets import CalibrationSet
from harness.method.base import Context
from harness.method.stack import check
from harness.models.loading import load_model
from harness.quant.network.qmodel import quantizable
from harness.quant.network.state import restore, state_of
from harness.trial.bits import Bits
from tests.lanes import sparing
from tests.shared import DEIT, REFERENCE, requires_reference

pytestmark = requires_reference
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
SETTINGS = {
    "deit_tiny_fqvit_w8a8_minmax": ("w8a8", "fqvit(ptf=false,weights=symmetric,batch=16)"),
    "deit_tiny_fqvit_w8a8_ptf": ("w8a8", "fqvit(weights=symmetric,batch=16)"),
    "deit_tiny_evolqinit_w4a8_ptf": ("w4a8", "fqvit(batch=16)"),
    "deit_tiny_evolqinit_w4a8_ptf_omseact_biascorr": (
        "w4a8",
        "fqvit(batch=16)+omse(targets=activations,batch=16)+biascorr",
    ),
    "deit_tiny_omse_w3a8_ptf_biascorr": (
        "w3a8",
        "fqvit(integer_layernorm=off,batch=16)+omse(targets=weights,granularity=shared)+biascorr",
    ),
}
LIS = "fqvit(weights=symmetric,batch=16,lis=true,lis_calibration=release)"


def site_names() -> dict[str, str]:
    """The released code's quantizers and our sites."""
    names = {
        "qact_input": "input",
        "patch_embed.proj": "patch_embed.proj.weight",
        "patch_embed.qact": "patch_embed.proj:conv",
        "qact_embed": "model:cat",
        "qact_pos": "pos_embed",
        "qact1": "model:add",
        "qact2": "norm:layer_norm",
        "head": "head.weight",
        "act_out": "head:linear",
    }
    block = {
        "qact1": ".norm1:layer_norm",
        "attn.qkv": ".attn.qkv.weight",
        "attn.qact1": ".attn.qkv:linear",
        "attn.qact_attn1": ".attn:matmul",
        "attn.log_int_softmax": ".attn:softmax",
        "attn.qact2": ".attn:matmul_1",
        "attn.proj": ".attn.proj.weight",
        "attn.qact3": ".attn.proj:linear",
        "qact2": ":add",
        "qact3": ".norm2:layer_norm",
        "mlp.fc1": ".mlp.fc1.weight",
        "mlp.qact1": ".mlp.act:activation",
        "mlp.fc2": ".mlp.fc2.weight",
        "mlp.qact2": ".mlp.fc2:linear",
        "qact4": ":add_1",
    }
    return names | {f"blocks.{i}.{k}": f"blocks.{i}{v}" for i in range(12) for k, v in block.items()}


def images(name: str) -> torch.Tensor:
    with np.load(REFERENCE / name) as archive:
        pixels = torch.from_numpy(archive["images"]).permute(0, 3, 1, 2).float() / 255
    return (pixels - MEAN[:, None, None]) / STD[:, None, None]


@pytest.fixture(scope="module")
def deit():
    loaded = load_model("deit_tiny_patch16_224.fb_in1k", DEIT)
    return quantizable(loaded.network, (3, 224, 224), loaded.name)


@pytest.fixture(scope="module")
def calibration():
    return CalibrationSet(images("calibration_images.npz"))


@pytest.fixture(scope="module")
def evaluation():
    return images("evaluation_images.npz")


CALIBRATED = {}


def calibrate(model, calibration, bits, stack):
    """Every stack is calibrated once, for all tests that look at it."""
    model.clear()
    if (bits, stack) not in CALIBRATED:
        for step in check(stack).steps:
            step.method.apply(model, calibration, Context(Bits.parse(bits)))
        CALIBRATED[bits, stack] = state_of(model)
    restore(model, *CALIBRATED[bits, stack])


def sqnr(reference, other) -> float:
    reference, other = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    return float(10 * np.log10((reference**2).sum() / ((reference - other) ** 2).sum()))


def compare(model, setting, only=lambda name: True):
    """Relative scale errors of all channels and the number of differing zero points."""
    errors, zero_points = [], 0
    with np.load(REFERENCE / f"{setting}.npz") as archive:
        for theirs, ours in site_names().items():
            if f"scale/{theirs}" not in archive.files or not only(ours):
                continue
            quantizer, scale = model.quantizers[ours], archive[f"scale/{theirs}"].ravel()
            errors.append(np.abs(quantizer.scale.numpy().ravel() - scale) / scale)
            zero_points += int((quantizer.zero_point.numpy().ravel() != archive[f"zp/{theirs}"].ravel()).sum())
    return np.concatenate(errors), zero_points, len(errors)


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_scale_and_zero_point(setting, deit, calibration):
    calibrate(deit, calibration, *SETTINGS[setting])
    errors, zero_points, quantizers = compare(deit, setting)
    assert quantizers == json.loads((REFERENCE / f"{setting}.json").read_text())["n_quantizers"] == 189
    assert errors.max() < 1e-5
    assert zero_points == 0


def test_scales_with_log_int_softmax(deit, calibration):
    """Log-int-softmax jumps by factors of two, so deep blocks of the last calibration batch drift; the first do not."""
    setting = "deit_tiny_fqvit_w8a8_ptf_lis"
    calibrate(deit, calibration, "w8a8s4", LIS)
    errors, zero_points, _ = compare(deit, setting, lambda n: not n.startswith("blocks") or n.startswith("blocks.0"))
    shallow = [n for n in deit.quantizers if n.startswith(("blocks.0", "patch", "pos", "input", "model"))]
    errors, zero_points, _ = compare(deit, setting, shallow.__contains__)
    assert errors.max() < 1e-5
    assert zero_points == 0
    errors, _, quantizers = compare(deit, setting)
    assert quantizers == 177
    assert (errors < 1e-5).mean() > 0.9


# With power-of-two factors, and with all corrections; the others differ from these in their scales.
LOGITS = ("deit_tiny_fqvit_w8a8_ptf", "deit_tiny_omse_w3a8_ptf_biascorr")


@pytest.mark.parametrize("setting", sparing(SETTINGS, LOGITS))
def test_logits_are_as_close_as_a_second_implementation_can_be(setting, deit, calibration, evaluation):
    calibrate(deit, calibration, *SETTINGS[setting])
    with np.load(REFERENCE / f"{setting}.npz") as archive:
        reference, full = archive["logits/quant"], archive["logits/fp"]
    ours = deit(evaluation).numpy()
    floor = sqnr(ours, with_float64_products(deit, evaluation))
    assert sqnr(full, deit.full_precision(evaluation).numpy()) > 100
    assert sqnr(reference, ours) > floor - 2
    assert abs(sqnr(full, ours) - sqnr(full, reference)) < 0.5
    assert (ours.argmax(1) == reference.argmax(1)).mean() > 0.8


def with_float64_products(model, images):
    """Logits of the same network, its linear operations and convolutions summed in float64."""
    original = {name: operation.function for name, operation in model.weights.items()}

    def widened(function):
        return lambda x, w, b: function(x.double(), w.double(), None if b is None else b.double()).float()

    try:
        for operation in model.weights.values():
            operation.function = widened(operation.function)
        return model(images).numpy()
    finally:
        for name, operation in model.weights.items():
            operation.function = original[name]


def test_the_released_search_target(deit, calibration):
    """Evol-Q's release searches towards logits with integer LayerNorm still on."""
    setting = "deit_tiny_fqvit_w8a8_ptf"
    calibrate(deit, calibration, *SETTINGS[setting])
    with np.load(REFERENCE / f"{setting}.npz") as archive:
        target, full = archive["logits/search_target"], archive["logits/calib_fp"]
    with torch.no_grad():
        ours = deit.run_full_precision(calibration.images, integers=True).numpy()
    assert abs(sqnr(full, ours) - sqnr(full, target)) < 0.5
    assert sqnr(target, ours) > 21  # rounding chains again: independent noise of this size would give 19 dB
