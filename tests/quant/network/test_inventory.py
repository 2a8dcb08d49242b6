"""Coverage, size, bit-operations and the integer-grid check."""

import pytest
import torch

from harness.method.base import Context
from harness.method.stack import check
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


def test_size_by_hand(model, calibration):
    apply(model, calibration, "fqvit", "w4a8")
    weights = sum(operation.weight.numel() for operation in model.weights.values())
    constants = 50 * 96
    parameters = sum(q.scale.numel() * 4 + q.zero_point.numel() for q in model.quantizers.values())
    expected = inventory.full_precision_bytes(model) - weights * 3.5 - constants * 3 + parameters
    assert inventory.size_bytes(model) == round(expected)


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
        ("fqvit(lis=true)", "w8a8s4", 6),
    ],
)
def test_on_grid(stack, bits, off_grid, model, calibration):
    apply(model, calibration, stack, bits)
    assert len(inventory.off_grid_sites(model)) == off_grid


def test_a_fractional_zero_point_is_off_the_grid(model, calibration):
    from dataclasses import replace

    apply(model, calibration, "fqvit", "w8a8")
    name = "blocks.0.attn:softmax"
    model.quantizers[name] = replace(model.quantizers[name], zero_point=torch.tensor([0.5]))
    assert inventory.off_grid_sites(model) == [name]
