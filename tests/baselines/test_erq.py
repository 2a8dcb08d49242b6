"""ERQ's ridge solution against a direct solve, and its roundings against round-to-nearest."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.baselines.erq import ridge_update, round_halves
from harness.method.stack import check
from harness.quant.format.affine import AffineSpec
from harness.quant.format.uniform import from_range
from tests.baselines.applying import errors_on_others


def case(seed, outputs=6, inputs=20, tokens=150):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(inputs, inputs, generator=generator)
    x = (torch.randn(tokens, inputs, generator=generator) @ mixing).double()
    weight = torch.randn(outputs, inputs, generator=generator)
    return x, weight, from_range(AffineSpec(3, axis=0), weight.amin(1), weight.amax(1))


@given(st.integers(0, 10**6), st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_the_ridge_solution_is_that_of_a_direct_least_squares_solve(seed, ridge):
    x, _, _ = case(seed)
    error = torch.randn(150, 6, generator=torch.Generator().manual_seed(seed + 1)).double()
    update, offset = ridge_update(x, error, torch.tensor(ridge))
    # Ridge regression is least squares with rows sqrt(lambda) I below, and nothing for the bias.
    rows = torch.cat([torch.eye(20).double() * ridge**0.5, torch.zeros(20, 1).double()], dim=1)
    stacked = torch.cat([torch.cat([x, torch.ones(150, 1).double()], dim=1), rows])
    direct = torch.linalg.lstsq(stacked, torch.cat([error, torch.zeros(20, 6).double()])).solution
    assert torch.allclose(torch.cat([update, offset[None]]), direct, atol=1e-7)


@given(st.integers(0, 10**6), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_rounding_by_halves_stays_on_the_grid_and_beats_round_to_nearest(seed, refinements):
    x, weight, quantizer = case(seed)
    rounded = round_halves(weight, quantizer, x, torch.tensor(1e-3), refinements)
    codes = rounded / quantizer.scale[:, None] + quantizer.zero_point[:, None]
    assert (codes - codes.round()).abs().max() < 1e-3
    assert 0 <= codes.round().min() <= codes.round().max() <= 7

    def error(one):
        return ((x @ (weight - one).double().T) ** 2).sum()

    assert error(rounded) < error(quantizer.quantize(weight))


@pytest.mark.parametrize(
    ("settings", "bits"),
    [("", "w4a4"), ("weights=false", "w4a4"), ("activations=false", "w3a8"), ("inputs=quantized", "w4a4")],
)
def test_outputs_come_closer_to_full_precision(settings, bits, model, calibration, context):
    images = calibration.images
    target, errors = model.full_precision(images), []
    for stack in ("repqvit", f"repqvit+erq({settings})"):
        model.clear()
        for step in check(stack).steps:
            step.method.apply(model, calibration, context(bits))
        errors.append((model(images) - target).square().mean().item())
    assert errors[1] < 0.8 * errors[0]


def test_channel_wise_inputs(model, calibration, context):
    target, errors = model.full_precision(calibration.images), []
    for stack in ("repqvit(reparameterise=false)", "repqvit(reparameterise=false)+erq"):
        model.clear()
        for step in check(stack).steps:
            step.method.apply(model, calibration, context("w4a4"))
        errors.append((model(calibration.images) - target).square().mean().item())
    assert errors[1] < errors[0]


def test_what_few_images_teach_holds_for_others(model, context, preprocessing):
    """With inputs of the quantized network a layer learned the earlier layers' errors on its few images by heart."""
    stacks = ("repqvit", "repqvit+erq", "repqvit+erq(inputs=quantized)")
    errors = errors_on_others(model, context, preprocessing, stacks, bits="w8a8")
    assert errors["repqvit+erq"] < 1.1 * errors["repqvit"]
    assert errors["repqvit+erq"] < errors["repqvit+erq(inputs=quantized)"]
