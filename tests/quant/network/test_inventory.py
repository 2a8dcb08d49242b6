"""Coverage, size, bit-operations and the integer-grid check."""

from dataclasses import replace

import pytest
import torch

from harness.method.base import Context
from harness.method.stack import check
from harness.quant.format.power_of_two import PowerOfTwo
from harness.quant.network import inventory
from harness.trial.bits import Bits


def apply(model, calibration, stack, bits):
    for step in check(stack).steps:
        step.method.apply(model, calibration, Context(Bits.parse(bits)))


def test_full_precision(model):
    assert inventory.size_bytes(model) == inventory.full_precision_bytes(model)
    assert inventory.bit_operations(model) == inventory.full_precision_bit_operations(model)
    assert all(row["quantized"] == 0 for row in inventory.coverage(model))
    assert inventory.off_grid_sites(model) == []


def test_multiply_accumulates_of_the_embedded_network(model):
    width, tokens, heads = 96, 50, 3
    per_block = tokens * width * width * 12 + 2 * heads * tokens * tokens * (width // heads)
    expected = 49 * 16 * width + 6 * per_block + 10 * width
    assert sum(segment.macs for segment in model.segments) == expected


def test_bit_operations_by_hand(model, calibration):
    apply(model, calibration, "fqvit", "w4a8")
    width, tokens = 96, 50
    linear = tokens * width * width * 12
    products = 2 * tokens * tokens * width
    stem, head = 49 * 16 * width, 10 * width  # the image stays in full precision for a ViT
    assert inventory.bit_operations(model) == stem * 4 * 32 + 6 * (linear * 32 + products * 64) + head * 32


@pytest.mark.parametrize("symmetric", [False, True])
def test_size_by_hand(symmetric, model, calibration):
    """A power-of-two tensor stores a scale, a zero point and two bits per channel; symmetric weights no zero points."""
    apply(model, calibration, "fqvit(weights=symmetric)" if symmetric else "fqvit", "w4a8")
    weights = sum(operation.weight.numel() for operation in model.weights.values())
    rows = sum(len(operation.weight) for operation in model.weights.values())
    constants, width = 50 * 96, 96
    residual = [q for q in model.quantizers.values() if isinstance(q, PowerOfTwo)]
    single = len(model.quantizers) - len(residual) - len(model.weights)
    assert len(residual) == 13
    parameters = rows * (4 if symmetric else 5) + single * 5 + len(residual) * (5 + width * 2 / 8)
    expected = inventory.full_precision_bytes(model) - weights * 3.5 - constants * 3 + parameters
    assert inventory.size_bytes(model) == round(expected)


def test_bias_correction_stores_an_offset_per_channel(model, calibration):
    apply(model, calibration, "fqvit", "w4a8")
    before = inventory.size_bytes(model)
    apply(model, calibration, "fqvit+biascorr", "w4a8")
    rows = sum(len(operation.weight) for operation in model.weights.values())
    assert inventory.size_bytes(model) - before == 4 * rows, "the gain folds into the scale"


def test_coverage_names_bits_and_granularity(model, calibration):
    apply(model, calibration, "fqvit", "w3a8s6")
    rows = {row["tensors"]: row for row in inventory.coverage(model)}
    assert rows["image"]["quantized"] == 0
    assert rows["attention weights"] == {
        "tensors": "attention weights",
        "quantized": 12,
        "total": 12,
        "bits": [3],
        "granularity": ["channel"],
    }
    assert rows["residual sums"]["granularity"] == ["power_of_two"]
    assert rows["attention probabilities"]["bits"] == [6]


@pytest.mark.parametrize(
    ("stack", "bits", "off_grid"),
    [
        ("fqvit+omse", "w4a8", 0),
        ("fqvit(weights=symmetric,narrow_range=true)", "w4a8", 0),
        ("fqvit+biascorr", "w4a8", 26),
        ("fqvit+biascorr(form=empirical)", "w4a8", 0),
        ("fqvit(lis=true)", "w8a8s4", 0),
    ],
)
def test_on_grid(stack, bits, off_grid, model, calibration):
    apply(model, calibration, stack, bits)
    assert len(inventory.off_grid_sites(model)) == off_grid


def test_a_fractional_zero_point_is_off_the_grid(model, calibration):
    apply(model, calibration, "fqvit", "w8a8")
    name = "blocks.0.attn:softmax"
    model.quantizers[name] = replace(model.quantizers[name], zero_point=torch.tensor([0.5]))
    assert inventory.off_grid_sites(model) == [name]
    (row,) = [row for row in inventory.grid(model) if row["grid"] != "integer"]
    assert (row["tensors"], row["grid"], row["sites"]) == ("attention probabilities", "integer after folding", 1)
    assert "fractional zero points" in row["reason"]


@pytest.mark.parametrize(
    ("stack", "bits", "tensors", "reason"),
    [
        ("fqvit+biascorr", "w4a8", {"weights", "attention weights"}, "offset is one number per channel"),
        ("repqvit", "w4a4", {"operands from softmax"}, "root of two"),
        ("adalog(candidates=32,steps=1,rounds=1,images=4)", "w4a4", {"operands from softmax"}, "table"),
    ],
)
def test_what_folds_says_why(stack, bits, tensors, reason, model, calibration):
    apply(model, calibration, stack, bits)
    folded = [row for row in inventory.grid(model) if row["grid"] == "integer after folding"]
    assert tensors <= {row["tensors"] for row in folded if reason in row["reason"]}
    assert not [row for row in inventory.grid(model) if row["grid"] == "not realisable"]


def test_weights_between_codes_are_not_realisable(model, calibration):
    apply(model, calibration, "fqvit", "w4a8")
    name = "blocks.0.attn.qkv.weight"
    between = model.quantizers[name].realisation(model.weights[name].weight)
    assert (between.grid, between.reason) == ("not realisable", "weights lie between the codes of their format")


def test_log_int_softmax_is_integer_on_its_own_grid(model, calibration):
    apply(model, calibration, "fqvit(lis=true)", "w8a8s4")
    (row,) = [row for row in inventory.grid(model) if row["tensors"] == "attention probabilities"]
    assert (row["grid"], row["sites"]) == ("integer", 6)
    assert "shifts" in row["reason"]


def operations(model):
    return {row["operation"]: row["count"] for row in inventory.floating_point(model)}


def test_what_stays_in_floating_point(model, calibration):
    """Softmax and GELU do without a quantizer before them, so no coverage table shows them."""
    full = operations(model)
    assert (full["softmax"], full["gelu"], full["layer_norm"]) == (6, 6, 13)
    assert full["matrix product"] == 26 + 12
    apply(model, calibration, "fqvit", "w8a8")
    stem = 1  # the image of a ViT has no quantizer
    assert operations(model) == {"softmax": 6, "gelu": 6, "matrix product": stem, "biases": 26}
    assert not inventory.integer_only(model)
    model.clear()
    apply(model, calibration, "fqvit(lis=true,image=on,ptf=false)", "w8a8s4")
    assert operations(model) == {"gelu": 6, "layer_norm": 13, "biases": 26}


def test_integer_only(monkeypatch, model, calibration):
    """Everything quantized, LayerNorm and softmax on integers, an activation that only clips: nothing is left over."""
    monkeypatch.setattr(inventory, "CLIPPING", ("gelu",))
    apply(model, calibration, "fqvit(lis=true,image=on)", "w8a8s4")
    assert operations(model) == {"biases": 26}
    assert inventory.integer_only(model)
    name = "blocks.0:add"
    model.quantizers[name] = replace(model.quantizers[name], scale=model.quantizers[name].scale * torch.linspace(1, 2, 96))
    assert not inventory.integer_only(model)
