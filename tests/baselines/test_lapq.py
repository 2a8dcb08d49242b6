"""LAPQ: the fit of the exponent, and what its two stages lower."""

import numpy as np
import pytest
import torch

from harness.baselines.lapq import NORMS, _Ranges, fitted_exponent
from tests.baselines.applying import apply


@pytest.mark.parametrize("lowest", [2.2, 3.0, 3.9])
def test_the_exponent_is_the_minimum_of_a_quadratic(lowest):
    assert fitted_exponent(list(0.3 * (NORMS - lowest) ** 2 + 1)) == pytest.approx(lowest)


@pytest.mark.parametrize("losses", [NORMS, -NORMS, -((NORMS - 3) ** 2)])
def test_without_a_minimum_it_is_the_best_that_was_measured(losses):
    assert fitted_exponent(list(losses)) == NORMS[int(np.argmin(losses))]


def test_norms_shrink_ranges_and_the_search_lowers_the_loss(model, calibration, context):
    apply(model, calibration, context, "minmax", bits="w4a4")
    before = {name: quantizer.scale for name, quantizer in model.quantizers.items()}
    model.clear()
    notes = apply(model, calibration, context, "minmax+lapq(evaluations=30)", bits="w4a4").notes
    assert 2 <= notes["exponent"] <= 4
    assert notes["loss"] <= notes["start_loss"]
    smaller = [(model.quantizers[name].scale <= scale * 1.2).all().item() for name, scale in before.items()]
    assert sum(smaller) > 0.9 * len(smaller)


@torch.no_grad()
def test_a_factor_of_one_is_the_network_it_was_given(model, calibration, context):
    """Also where zero points are no whole numbers."""
    apply(model, calibration, context, "repqvit")
    before = model(calibration.images[:4])
    ranges = _Ranges(model, calibration.images[:4].split(2))
    ranges.loss(np.ones(len(ranges.sites)))
    assert torch.equal(model(calibration.images[:4]), before)
