"""QwT's fit against least squares, its effect, and what it costs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.baselines import qwt
from harness.baselines.qwt import RIDGES, RidgeRegression, held_out_ridge
from harness.quant.network.inventory import size_bytes
from tests.baselines.applying import apply, errors_on_others


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_without_a_ridge_it_is_least_squares(seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(100, 5, generator=generator), torch.randn(100, 5, generator=generator)
    weight, bias = RidgeRegression(x, y).fit(0.0)
    direct = torch.linalg.lstsq(torch.cat([x, torch.ones(100, 1)], dim=1).double(), y.double()).solution.float()
    assert torch.allclose(torch.cat([weight, bias[None]]), direct, atol=1e-4)


@pytest.mark.parametrize(("settings", "share"), [("", 0.9), ("preset=chain", 0.7)])
def test_every_block_explains_a_part_of_its_error_and_the_size_grows(settings, share, model, calibration, context):
    images = calibration.images
    target = model.full_precision(images)
    apply(model, calibration, context, "repqvit")
    before, small = (model(images) - target).square().mean(), size_bytes(model)
    model.clear()
    made = apply(model, calibration, context, f"repqvit+qwt({settings})")
    assert len(made.notes["determination"]) == 6
    assert all(one > 0 for one in made.notes["determination"].values())
    assert (model(images) - target).square().mean() < share * before
    assert made.notes["extra_bytes"] == 6 * 2 * (96 * 96 + 96)
    assert size_bytes(model) == small + made.notes["extra_bytes"]
    assert torch.equal(model.full_precision(images), target)


def test_the_target_is_the_block_in_full_precision_on_the_same_input(model, calibration, context):
    """It once was the full-precision network's, so that each layer absorbed the errors of all blocks before it."""
    images = calibration.images
    apply(model, calibration, context, "repqvit+qwt")
    for index, segment in enumerate(model.segments):
        if segment.name not in model.compensations:
            continue
        weight, bias = model.compensations[segment.name]
        x = model.run(images, 0, index)  # the blocks before it are compensated already
        output = model.run(x, index, index + 1) - x @ weight - bias
        rows = x.flatten(0, -2).double()
        found = rows @ weight.double() + bias.double()
        design = torch.cat([rows, torch.ones(len(rows), 1).double()], dim=1)
        apart = []
        for start in (x, model.run_full_precision(images, 0, index)):
            missing = (model.run_full_precision(start, index, index + 1) - output).flatten(0, -2).double()
            expected = design @ torch.linalg.lstsq(design, missing, driver="gelsd").solution
            apart.append(float((found - expected).square().sum() / expected.square().sum()))
        assert apart[0] < 0.1, "half precision"
        assert index < 2 or apart[0] < 0.2 * apart[1]


def test_a_fit_that_explains_nothing_gets_no_layer(model, calibration, context, monkeypatch):
    monkeypatch.setattr(qwt, "determination", lambda *_: 0.0)
    assert apply(model, calibration, context, "repqvit+qwt").notes["extra_bytes"] == 0
    assert model.compensations == {}


def test_the_ridge_is_the_one_that_predicts_images_left_out():
    """Few images and many channels: what fits them best is not what holds for others."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 12, 64, generator=generator)
    noise = torch.randn(8, 12, 64, generator=generator)
    signal = x @ torch.randn(64, 64, generator=generator)
    assert held_out_ridge(x, signal) == RIDGES[0], "nothing but signal"
    assert held_out_ridge(x, noise) == RIDGES[-1], "nothing but noise"
    assert held_out_ridge(x[:3], signal[:3]) == 0.1, "too few images to leave one out"


def test_a_compensation_of_few_images_holds_for_others_if_its_ridge_does(model, context, preprocessing):
    stacks = ("repqvit", "repqvit+qwt(preset=chain)", "repqvit+qwt(target=chain,ridge=0.001)")
    errors = errors_on_others(model, context, preprocessing, stacks)
    assert errors[stacks[1]] < errors["repqvit"]
    assert errors[stacks[1]] < errors[stacks[2]]
