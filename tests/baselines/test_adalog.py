"""AdaLog: its quantizer against the formula, its search against brute force, and what it installs."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm import create_model

from harness.baselines.adalog import ProductErrors
from harness.baselines.engines.progressive_search import progressive_search
from harness.baselines.engines.quantizer_spaces import SearchEffort, logarithmic_space, uniform_space
from harness.data.sets import CalibrationSet
from harness.quant.format.adaptive_log import AdaptiveLog, adaptive_log
from harness.quant.format.affine import AffineSpec
from harness.quant.format.arithmetic import channel_rows
from harness.quant.format.uniform import Uniform
from harness.quant.network.inventory import coverage, off_grid_sites
from harness.quant.network.qmodel import quantizable
from tests.baselines.applying import apply

FEW = SearchEffort(candidates=64, keep=8, steps=4)


@given(bits=st.integers(2, 8), numerator=st.integers(1, 140), largest=st.floats(0.05, 20), shift=st.floats(0, 0.2))
def test_adaptive_logarithm_against_its_formula(bits, numerator, largest, shift):
    values = torch.linspace(0, 1.3, 60, dtype=torch.float32) * largest - shift
    got = adaptive_log(values, torch.tensor([largest, float(numerator), shift]), bits)
    steps = 2 ** (bits + 1) - 2
    for x, y in zip(values.tolist(), got.tolist(), strict=True):
        inside = min((x + shift) / largest, 1.0)
        exact = -math.log2(inside) * 37 / numerator if inside > 1e-15 else 1e9
        if abs(exact - math.floor(exact) - 0.5) < 1e-3:
            continue  # a tie that single precision may decide otherwise
        code = round(exact)
        whole, rest = divmod(code * numerator, 37)
        power = 2.0**-whole * round(2 ** (-rest / 37) * steps) / steps if code < 2**bits else 0.0
        assert math.isclose(y, largest * power - shift, rel_tol=1e-4, abs_tol=1e-5 * largest)
    assert len(got.unique()) <= 2**bits + 1


def test_base_two_gives_plain_powers_of_two():
    values = torch.rand(400)
    got = adaptive_log(values, torch.tensor([1.0, 37.0, 0.0]), 4)
    expected = torch.exp2(torch.log2(values).round())
    assert torch.equal(got[expected > 2.0**-16], expected[expected > 2.0**-16])


def test_progressive_search_finds_the_minimum_of_each_group():
    goal = torch.tensor([[0.3712, 2.218], [5.0, 1.0]])
    first = torch.linspace(0, 4, 9)[:, None].expand(-1, 2)
    second = torch.arange(8.0)[:, None].expand(-1, 2)

    def error(parameters):
        return ((parameters - goal) ** 2).sum(dim=0)

    coarse = progressive_search((first, second), error, keep=4, fine=(5, 1), steps=1)
    fine = progressive_search((first, second), error, keep=4, fine=(5, 1), steps=6)
    assert torch.equal(coarse[1], goal[1])
    assert (error(fine) < error(coarse)).all()
    assert (fine - goal).abs().max() < 0.01


def test_a_search_is_never_worse_than_its_grid():
    x = torch.cat([torch.randn(4000), torch.tensor([9.0])]).reshape(1, -1)
    space = uniform_space(x, AffineSpec(4), FEW, "range")

    def error(quantizer):
        return (quantizer(x[0]) - x[0]).square().sum().reshape(1)

    found = space.search(error, FEW)
    pairs = [torch.stack([scale, zero]) for scale in space.grid[0] for zero in space.grid[1]]
    assert error(found) <= min(error(space.build(pair)) for pair in pairs)
    assert error(found) < error(space.start)
    assert float(found.zero_point) == round(float(found.zero_point)), "zero points stay integers"


def test_gelu_outputs_are_shifted_so_that_none_is_negative():
    x = torch.nn.functional.gelu(torch.randn(3000) * 2)
    space = logarithmic_space(x, 4, FEW, probabilities=False)

    def error(quantizer):
        return (quantizer(x) - x).square().sum().reshape(1)

    found = space.search(error, FEW)
    assert float(found.scale[2]) == pytest.approx(-float(x.min()))
    assert error(found) < error(space.start)
    assert float(found(x).min()) >= float(x.min()) - 1e-6


def test_errors_from_moments_equal_those_of_the_products():
    x, weight = torch.randn(300, 12), torch.randn(5, 12)
    target = torch.randn(300, 5)
    direct = (x.double() @ weight.double().T - target.double()).square().sum(dim=0)
    assert torch.allclose(ProductErrors(x, target).of(weight), direct, rtol=1e-10)


def test_quantizers_are_those_of_the_paper(model, calibration, context):
    apply(model, calibration, context, "adalog(candidates=32,steps=2,rounds=1)")
    q = model.quantizers
    assert isinstance(q["blocks.1.attn:matmul_1[a]"], AdaptiveLog)
    assert q["blocks.1.attn:matmul_1[a]"].scale[0] == 1, "probabilities are not scaled"
    assert isinstance(q["blocks.1.mlp.fc2:linear[x]"], AdaptiveLog)
    heads = q["blocks.1.attn:matmul[a]"]
    assert heads.axis == 1
    assert heads.scale.numel() > 1
    assert q["blocks.1.mlp.fc1.weight"].scale.numel() == model.weights["blocks.1.mlp.fc1.weight"].weight.shape[0]
    rows = {row["tensors"]: row for row in coverage(model)}
    assert "head" in rows["operands from linear"]["granularity"]
    assert "blocks.1.mlp.fc2:linear[x]" in off_grid_sites(model)


def test_norms_are_reparameterised_when_widths_are_equal(model, calibration, context):
    settings = "candidates=32,steps=1,rounds=1"
    assert apply(model, calibration, context, f"adalog({settings})").notes["reparameterised_norms"] == 12
    expected = model.full_precision(calibration.images)
    model.quantizers.clear()
    assert (model(calibration.images) - expected).abs().max() < 1e-4 * expected.abs().max()
    model.clear()
    assert "reparameterised_norms" not in apply(model, calibration, context, f"adalog({settings})", bits="w4a8").notes
    assert not model.replaced_norms


def test_far_closer_than_repqvit_at_four_bits(model, calibration, context):
    target = model.full_precision(calibration.images)
    errors = []
    for stack in ("adalog(candidates=32,steps=2,rounds=1)", "repqvit"):
        model.clear()
        apply(model, calibration, context, stack)
        errors.append(float((model(calibration.images) - target).square().mean()))
    assert errors[0] < 0.7 * errors[1]


def test_tensor_wise_search_of_weights_equals_brute_force_on_the_first_layer(model, calibration, context):
    apply(model, calibration, context, "adalog(candidates=32,steps=1,rounds=1,images=4)", bits="w4a32")
    name = "patch_embed.proj.weight"
    operation = model.weights[name]
    x = calibration.images[:4]
    target = operation.function(x, operation.weight, operation.bias)
    space = uniform_space(operation.weight.flatten(1), AffineSpec(4, axis=0), SearchEffort(32, 16, 1), "range")
    best = None
    for scale in space.grid[0]:
        for zero in space.grid[1]:
            weight = space.build(torch.stack([scale, zero])).weight(operation.weight, operation.weight)
            error = (operation.function(x, weight, operation.bias) - target).square().double()
            error = channel_rows(error, 1).sum(dim=1)
            best = error if best is None else torch.minimum(best, error)
    got = (operation.function(x, operation.quantized_weight(), operation.bias) - target).square().double()
    assert torch.allclose(channel_rows(got, 1).sum(dim=1), best, rtol=1e-4)


@pytest.mark.slow
def test_other_activations_than_gelu_stay_uniform(context):
    """ReLU and hardswish outputs lie around zero: a logarithm of the shifted values was coarse just there."""
    network = create_model("resnet10t", num_classes=5).eval()
    plain = quantizable(network, (3, 64, 64), "resnet10t")
    images = CalibrationSet(torch.randn(4, 3, 64, 64))
    apply(plain, images, context, "adalog(candidates=32,steps=1,rounds=1)")
    schemes = {type(quantizer) for quantizer in plain.quantizers.values()}
    assert schemes == {Uniform}
    error = (plain(images.images) - plain.full_precision(images.images)).square().sum()
    assert error < 0.2 * plain.full_precision(images.images).square().sum()


def test_sites_know_the_function_that_computes_them(model):
    functions = {site.function for site in model.sites.values() if "mlp.act" in site.name or "fc2:linear[x]" in site.name}
    assert functions == {"gelu"}
    assert model.sites["input"].function == model.sites["blocks.0.attn.qkv.weight"].function == ""
