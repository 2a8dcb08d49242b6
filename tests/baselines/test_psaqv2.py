"""PSAQ-ViT V2: both sides of the game do what they are for."""

import math

import pytest
import torch
from timm import create_model
from torch.nn import functional as F

from harness.baselines.psaqv2 import divergence
from harness.data.preprocessing import of_model
from harness.data.sets import CalibrationSet
from harness.errors import CaptureError
from harness.method.stack import check
from harness.quant.network.inventory import off_grid_sites
from harness.quant.network.qmodel import quantizable
from tests.baselines.applying import apply

SMALL = "images=8,batch=4"


def play(model, calibration, context, settings):
    return apply(model, calibration, context, f"minmax+psaqv2({settings},{SMALL})").notes


def apart(model, images) -> float:
    return float(divergence(model.full_precision(images), model(images)))


def test_divergence_against_the_sum_written_out():
    teacher, student = torch.randn(3, 5), torch.randn(3, 5)
    p, q = F.softmax(teacher, 1).tolist(), F.softmax(student, 1).tolist()
    expected = sum(a * math.log(a / b) for row, other in zip(p, q, strict=True) for a, b in zip(row, other, strict=True)) / 3
    assert float(divergence(teacher, student)) == pytest.approx(expected, rel=1e-5)
    assert float(divergence(teacher, teacher)) == pytest.approx(0.0, abs=1e-6)


def test_the_network_comes_closer_to_full_precision(model, calibration, context):
    apply(model, calibration, context, "minmax")
    before = apart(model, calibration.images[:8])
    model.clear()
    notes = play(model, calibration, context, "rounds=2,image_steps=0,student_steps=20")
    assert apart(model, calibration.images[:8]) < 0.7 * before
    assert len(notes["divergence"]) == 2
    assert notes["learned_weights"] == len(model.weights)


def test_images_make_the_networks_disagree(model, calibration, context):
    """Without learning, what images gain is theirs alone."""
    still = "rounds=8,student_steps=1,weight_lr=0,scale_lr=0,image_steps=4,image_lr=0.05"
    found = {weight: play(model, calibration, context, f"{still},discrepancy={weight}")["divergence"] for weight in (0, 10)}
    assert found[10][-1][0] > 1.3 * found[0][-1][0]


def test_each_learning_rate_moves_its_own_side(model, calibration, context):
    apply(model, calibration, context, "minmax")
    scales = {name: quantizer.scale.clone() for name, quantizer in model.quantizers.items()}
    weights = {name: operation.quantized_weight().clone() for name, operation in model.weights.items()}

    def changed(settings):
        model.clear()
        notes = play(model, calibration, context, f"rounds=1,student_steps=3,image_steps=0,{settings}")
        moved = [name for name, scale in scales.items() if not torch.equal(model.quantizers[name].scale, scale)]
        other = [name for name, weight in weights.items() if not torch.equal(model.weights[name].quantized_weight(), weight)]
        return moved, other, notes

    moved, other, notes = changed("scale_lr=0,weight_lr=0.2")
    assert not moved
    assert len(other) == notes["learned_weights"] == len(weights)
    moved, other, notes = changed("scale_lr=0.01,weight_lr=0")
    assert not other
    assert len(moved) == notes["learned_scales"] > 50
    assert changed("scale_lr=0,weight_lr=0")[:2] == ([], [])


def test_weights_stay_on_the_grid_of_their_quantizers(model, calibration, context):
    play(model, calibration, context, "rounds=2,student_steps=4,image_steps=1,weight_lr=0.5")
    assert off_grid_sites(model) == []
    for name, weight in model.rounded_weights.items():
        quantizer = model.quantizers[name]
        assert not weight.requires_grad
        assert torch.allclose(quantizer.quantize(weight), weight, atol=1e-6)


def test_it_goes_on_from_learned_roundings_and_keeps_bias_correction(model, calibration, context):
    made = apply(model, calibration, context, "fqvit+biascorr+adaround(iterations=3)", bits="w4a8")
    rounded = {name: weight.clone() for name, weight in model.rounded_weights.items()}
    corrections = {name: quantizer.correction for name, quantizer in model.quantizers.items()}
    check(f"fqvit+psaqv2(rounds=1,student_steps=1,image_steps=0,weight_lr=0.001,scale_lr=0,{SMALL})").steps[1].method.apply(
        model, calibration, made
    )
    assert all(torch.equal(model.rounded_weights[name], weight) for name, weight in rounded.items())
    assert {name: quantizer.correction for name, quantizer in model.quantizers.items()} == corrections


def test_images_keep_the_range_of_the_calibration_images(model, calibration, context, monkeypatch):
    seen = []
    original = type(model).full_precision
    monkeypatch.setattr(type(model), "full_precision", lambda self, x: (seen.append(x.clone()), original(self, x))[1])
    play(model, calibration, context, "rounds=2,image_steps=3,student_steps=1,image_lr=2.0")
    given = calibration.images[:8]
    low, high = given.amin((0, 2, 3), keepdim=True), given.amax((0, 2, 3), keepdim=True)
    assert seen
    assert all((images >= low).all() and (images <= high).all() for images in seen)
    assert torch.equal(given, calibration.images[:8])


def test_a_network_without_attention_is_refused(context):
    plain = create_model("resnet10t", num_classes=5).eval()
    model = quantizable(plain, of_model(plain, {}).input_size, "resnet10t")
    images = CalibrationSet(torch.randn(2, *of_model(plain, {}).input_size))
    with pytest.raises(CaptureError, match="psaqv2 needs attention, resnet10t has none"):
        apply(model, images, context, "minmax+psaqv2")
