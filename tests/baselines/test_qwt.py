"""QwT's fit against least squares, its effect, and what it costs."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.baselines.qwt import RIDGES, RidgeRegression, held_out_ridge
from harness.quant.network.inventory import size_bytes
from tests.baselines.applying import apply, errors_on_others


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_without_a_ridge_it_is_least_squares(seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(100, 5, generator=generator), torch.randn(100, 5, generator=generator)
    weight, bias = RidgeRegression(x, y).fit(1e-12)
    direct = torch.linalg.lstsq(torch.cat([x, torch.ones(100, 1)], dim=1).double(), y.double()).solution.float()
    assert torch.allclose(torch.cat([weight, bias[None]]), direct, atol=1e-4)


def test_every_block_explains_a_part_of_its_error_and_the_size_grows(model, calibration, context):
    images = calibration.images
    target = model.full_precision(images)
    apply(model, calibration, context, "repqvit")
    before, small = (model(images) - target).square().mean(), size_bytes(model)
    model.clear()
    made = apply(model, calibration, context, "repqvit+qwt")
    assert len(made.notes["explained"]) == 6
    assert all(share > 0 for share in made.notes["explained"].values())
    assert (model(images) - target).square().mean() < 0.7 * before
    assert made.notes["extra_bytes"] == 6 * 2 * (96 * 96 + 96)
    assert size_bytes(model) == small + made.notes["extra_bytes"]
    assert torch.equal(model.full_precision(images), target)


def test_the_ridge_is_the_one_that_predicts_images_left_out():
    """Few images and many channels: what fits them best is not what holds for others."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 12, 64, generator=generator)
    noise = torch.randn(8, 12, 64, generator=generator)
    signal = x @ torch.randn(64, 64, generator=generator)
    assert held_out_ridge(x, signal) == RIDGES[0], "nothing but signal"
    assert held_out_ridge(x, noise) == RIDGES[-1], "nothing but noise"
    assert held_out_ridge(x[:3], signal[:3]) == 0.1, "too few images to leave one out"


def test_a_compensation_of_few_images_holds_for_others(model, context, preprocessing):
    stacks = ("repqvit", "repqvit+qwt", "repqvit+qwt(ridge=0.001)")
    errors = errors_on_others(model, context, preprocessing, stacks)
    assert errors["repqvit+qwt"] < errors["repqvit"]
    assert errors["repqvit+qwt"] < errors["repqvit+qwt(ridge=0.001)"]
