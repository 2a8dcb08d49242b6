"""Scales that reconstructions learn: every format has some, and their gradients are those of rounding as the identity."""

from dataclasses import replace

import pytest
import torch

from harness.quant.format import AdaptiveLog, ShiftUniformLog2, TwinSoftmax
from harness.quant.format.adaptive_log import ADALOG_R
from harness.quant.format.registration import number_formats
from tests.quant.format.test_formats import EXAMPLES, ONE, ZERO

FIXED = {"log_int_softmax", "split"}  # nothing of it is calibrated; of weights only, whose roundings are learned


def through(x):
    """Rounded, with the gradient of the identity."""
    return x + (x.round() - x).detach()


def limited(position, low, high):
    """Rounded and limited; the gradient of the identity where the rounded position is a code, none elsewhere."""
    rounded = position.detach().round()
    ends = rounded.clamp(low, high)
    return torch.where((rounded >= low) & (rounded <= high), through(position), ends)


def log_sqrt2(x, scale, one):
    ratio = (x / scale).clamp(max=1)
    code = through(-2 * torch.log2(ratio))
    return torch.where(code.detach() < 2**one.bits, scale * torch.exp2(-code / 2), 0.0)


def adaptive_log(x, scale, one):
    _, numerator, shift = one.scale.double()
    ratio = ((x + shift) / scale).clamp(max=1)
    code = through(-torch.log2(ratio) * ADALOG_R / numerator)
    return torch.where(code.detach() < 2**one.bits, scale * torch.exp2(-code * numerator / ADALOG_R), 0.0) - shift


def shift_uniform_log2(x, shift, one):
    low, high = one.scale.double()[1:]
    step = (high - low) / (one.levels - 1)
    code = limited((torch.log2(x + shift) - low) / step, 0, one.levels - 1)
    return torch.exp2(through(code * step + low)) - shift


def twin_gelu(x, scales, one):
    half = 2 ** (one.bits - 1)
    return torch.where(x < 0, limited(x / scales[0], -half, 0) * scales[0], limited(x / scales[1], 0, half - 1) * scales[1])


def twin_softmax(x, scales, one):
    half = 2 ** (one.bits - 1)
    if one.summed:
        split = (half - 1) * scales[0]
        fine, coarse = torch.minimum(x, split), torch.maximum(x, split)
        return limited(fine / scales[0], 0, half - 1) * scales[0] + limited(coarse / scales[1], 0, half - 1) * scales[1]
    fine, coarse = limited(x / scales[0], 0, half - 1) * scales[0], limited(x / scales[1], 0, half - 1) * scales[1]
    return torch.where(x < half * scales[0], fine, coarse)


def power_of_two(x, base, one):
    scale = base * one.factors.double()
    return (limited(x / scale + one.zero_point.double(), *one.code_range) - one.zero_point.double()) * scale


CHAINS = {
    "log_sqrt2": (log_sqrt2, EXAMPLES["log_sqrt2"](4, 0.3)),
    "adaptive_log": (adaptive_log, AdaptiveLog(4, torch.tensor([0.7, 30.0, 0.17]), ZERO, ONE)),
    "shift_uniform_log2": (shift_uniform_log2, ShiftUniformLog2.on(torch.linspace(0, 0.6, 40), 4, 0.02)),
    "shift_uniform_log2, released": (
        shift_uniform_log2,
        ShiftUniformLog2.on(torch.linspace(0, 0.6, 40), 3, 0.02, released=True),
    ),
    "twin_gelu": (twin_gelu, EXAMPLES["twin_gelu"](4, 0.2)),
    "twin_softmax": (twin_softmax, EXAMPLES["twin_softmax"](4, 0.4)),
    "twin_softmax, summed": (twin_softmax, TwinSoftmax(4, torch.tensor([0.013, 1 / 7]), ZERO, ONE, summed=True)),
    "power_of_two": (power_of_two, EXAMPLES["power_of_two"](4, 0.2)),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("dropped", [False, True])
def test_gradients_are_those_of_a_written_out_chain_in_double_precision(name, dropped):
    chain, one = CHAINS[name]
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(300, 3, generator=generator)
    x = x * 1.4 - 0.16 if name in ("twin_gelu", "adaptive_log") else x * 1.2
    weights, kept = torch.rand(300, 3, generator=generator) - 0.3, torch.rand(300, 3, generator=generator) < 0.4
    exact, scales = x.double().requires_grad_(True), one.learnable_scales.double().requires_grad_(True)
    expected = chain(exact, scales, one)
    (torch.where(kept, exact, expected) if dropped else expected).mul(weights).sum().backward()
    values, learned = x.clone().requires_grad_(True), one.learnable_scales.clone().requires_grad_(True)
    found = one.with_learned_scales(learned)(values, kept=kept if dropped else None)
    (found * weights).sum().backward()
    plain = one.quantize(x)
    assert torch.allclose(found, torch.where(kept, x, plain) if dropped else plain)
    # A table of powers is rounded, so the slopes of its powers are those of the table, not of the exact power.
    rough = {"rtol": 0.05, "atol": 0.02} if name == "adaptive_log" else {"rtol": 1e-4, "atol": 1e-5}
    same = (values.grad - exact.grad.float()).abs() <= rough["atol"] + rough["rtol"] * exact.grad.float().abs()
    assert same.float().mean() > 0.995, "but for ties, which single precision decides otherwise"
    assert torch.allclose(learned.grad, scales.grad.float(), rtol=1e-2, atol=0.05)
    assert (learned.grad != 0).all()


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - FIXED))
def test_every_format_has_scales_that_gradients_move(name):
    one = EXAMPLES[name](4, 0.3)
    learned = one.learnable_scales.clone().requires_grad_(True)
    assert learned.numel() >= 1
    x = torch.rand(400, 3, generator=torch.Generator().manual_seed(0)) * 2 - (0 if "log" in name else 0.4)
    (one.with_learned_scales(learned)(x) - x).square().sum().backward()
    assert learned.grad is not None
    assert (learned.grad != 0).any()
    again = one.with_learned_scales(one.learnable_scales)
    assert torch.equal(again.quantize(x), one.quantize(x)), "its own scales change nothing"
    assert again.levels == one.levels


def test_the_others_have_none():
    assert set(number_formats()) >= FIXED
    for name in FIXED:
        assert EXAMPLES[name](4, 0.3).learnable_scales.numel() == 0


def test_a_step_against_the_gradient_of_a_logarithm_lowers_the_error():
    """Only what is cut off moves the largest power; it moves towards it."""
    one = EXAMPLES["log_sqrt2"](4, 0.2)
    x = torch.linspace(0.01, 1.0, 200)
    learned = one.learnable_scales.clone().requires_grad_(True)
    for _ in range(60):
        (error,) = torch.autograd.grad((one.with_learned_scales(learned)(x) - x).square().mean(), learned)
        learned = (learned - 0.2 * error).detach().requires_grad_(True)
    after = one.with_learned_scales(learned.detach())
    assert (after.quantize(x) - x).square().mean() < 0.7 * (one.quantize(x) - x).square().mean()
    assert float(learned) > float(one.scale)


def test_the_shift_stays_where_only_a_largest_value_is_learned():
    one = AdaptiveLog(4, torch.tensor([0.7, 30.0, 0.17]), ZERO, ONE)
    moved = one.with_learned_scales(torch.tensor([0.9]))
    assert torch.equal(moved.scale, torch.tensor([0.9, 30.0, 0.17]))
    assert moved == replace(one, scale=moved.scale)
