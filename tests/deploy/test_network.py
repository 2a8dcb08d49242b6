"""The network that is exported computes what the simulation computes, with codes of one byte."""

import pytest
import torch

from harness.deploy.grids import activation_grid, weight_codes
from harness.deploy.layers import Stored
from harness.deploy.network import deployed
from harness.deploy.refusals import refusals
from harness.method.stack import check
from harness.quant.format.affine import AffineSpec
from harness.quant.format.uniform import from_free_range, from_range
from harness.testing.applying import outcome

# Codes are computed in another order of operations, so a value at a tie becomes the neighbouring code now and then.
LEAST_DB = 28.0
FLOAT_FQVIT = "fqvit(integer_layernorm=off)"
ROUNDED = "repqvit(zero_point=rounded,softmax=uniform)"
STACKS = {
    "minmax": "w8a8",
    "minmax(weights=symmetric)": "w4a8",
    "minmax(sites=deploy)": "w4a8",
    "minmax+omse+biascorr": "w8a8",
    "minmax+biascorr(form=banner_paper)": "w4a8",
    "minmax+biascorr(form=empirical)": "w4a8",
    "minmax+gptq": "w4a8",
    "minmax+adaround(iterations=20)": "w4a8",
    FLOAT_FQVIT: "w4a8",
    f"{ROUNDED}": "w8a8",
    "minmax+qwt": "w8a8",
    "rotate+minmax": "w8a8",
    "rotate+minmax(sites=deploy)": "w8a8",
    "minmax(sites=operands)": "w4a4",
}


def db(expected, found):
    noise = (expected.double() - found.double()).square().sum()
    return float(10 * torch.log10(expected.double().square().sum() / noise))


@pytest.mark.parametrize(("stack", "bits"), STACKS.items())
def test_same_logits_as_the_simulation(model, calibration, stack, bits):
    outcome(check(stack), model, calibration, bits)
    assert not refusals(model, [], float_layernorm=False)
    network = deployed(model)
    images = calibration.images
    with torch.inference_mode():
        found, expected = network(images), model(images)
    assert db(expected, found) > LEAST_DB
    assert db(model.full_precision(images), found) < db(expected, found), "it is the quantized network"


@pytest.mark.parametrize(("stack", "bits"), [("minmax", "w8a8"), ("minmax+gptq", "w4a8"), ("minmax+omse+biascorr", "w4a8")])
def test_weights_are_codes_of_one_byte(model, calibration, stack, bits):
    outcome(check(stack), model, calibration, bits)
    stored = [module for module in deployed(model).modules() if isinstance(module, Stored)]
    assert len(stored) >= len(model.weights)
    assert {module.codes.dtype for module in stored} == {torch.int8}
    linear = model.weights["blocks.0.attn.qkv.weight"]
    codes = next(module for module in stored if module.codes.shape == linear.weight.t().shape)
    assert codes.scale.shape == (linear.weight.shape[0],), "a scale per output, which is the last axis of what is stored"


def test_gain_and_offset_of_a_corrected_weight_are_the_simulation_s(model, calibration):
    outcome(check("minmax+omse+biascorr"), model, calibration, "w4a8")
    operation = model.weights["blocks.0.mlp.fc1.weight"]
    quantizer = model.quantizers[operation.site.name]
    stored = weight_codes(quantizer, operation.weight, operation.weight)
    values = (stored.codes.float() - stored.zero_point[:, None]) * stored.scale[:, None] + stored.offset[:, None]
    torch.testing.assert_close(values, operation.quantized_weight(), rtol=1e-4, atol=1e-6)


def test_a_range_beside_zero_keeps_its_values():
    x = torch.linspace(3.0, 4.0, 257)
    quantizer = from_free_range(AffineSpec(8), x.min().reshape(1), x.max().reshape(1))
    grid = activation_grid(quantizer)
    assert 0 <= grid.zero_point <= 255
    codes = torch.round((x - grid.offset) / grid.scale).add(grid.zero_point).clamp(grid.low, grid.high)
    values = (codes - grid.zero_point) * grid.scale + grid.offset
    assert (values - quantizer.quantize(x)).abs().max() <= grid.scale * 1.001, "at most one code apart"


def test_signed_codes_become_unsigned_ones_with_the_same_values():
    quantizer = from_range(AffineSpec(8, signed=True, symmetric=True), torch.tensor([-2.0]), torch.tensor([1.0]))
    grid = activation_grid(quantizer)
    assert (grid.zero_point, grid.low, grid.high) == (128, 0, 255)
    assert grid.fills_byte
    narrow = activation_grid(from_range(AffineSpec(4), torch.tensor([0.0]), torch.tensor([1.0])))
    assert (narrow.low, narrow.high, narrow.fills_byte) == (0, 15, False)
