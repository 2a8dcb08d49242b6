"""PTQ-for-ViT's mixed precision: its sensitivity by definition, whole modules, and a budget that is kept."""

import pytest
import torch

from harness.baselines.nuclear import nuclear_norm, sensitivity
from harness.errors import IncompatibleError
from harness.method.base import Context
from harness.method.stack import check
from harness.testing.applying import apply, bytes_of
from harness.trial.bits import Bits

SMALL = "nuclear(budget={},images=4,lowest=3,highest=6)+minmax(sites=operands)"


def widths_by_module(model):
    found = {}
    for name, one in model.quantizers.items():
        segment = model.segments[model.segment_of(name)]
        if segment.is_block:
            found.setdefault((segment.name, "mlp" if "mlp" in name else "attention"), set()).add(one.bits)
    return found


def test_the_sensitivity_is_the_sum_of_singular_values_times_the_squared_error():
    generator = torch.Generator().manual_seed(2)
    want = torch.randn(3, 2, 7, 5, generator=generator)
    got = want + 0.1 * torch.randn(want.shape, generator=generator)
    norms = sum(float(torch.linalg.svdvals(matrix.double()).sum()) for image in want for matrix in image) / 3
    error = float((got.double() - want.double()).square().sum()) / 3
    assert sensitivity(nuclear_norm(want), want, got) == pytest.approx(norms * error)
    assert sensitivity(nuclear_norm(want), want, want) == 0


@pytest.mark.parametrize("budget", [3.5, 4.25, 5.0])
def test_a_module_has_one_width_and_the_budget_is_kept(budget, model, calibration):
    apply(check(SMALL.format(budget)).steps, model, calibration, "w4a4")
    widths = widths_by_module(model)
    assert len(widths) == 2 * sum(segment.is_block for segment in model.segments)
    assert all(len(found) == 1 for found in widths.values()), widths
    weights = {name: model.sites[name].elements for name in model.weights}
    spent = sum(model.quantizers[name].bits * count for name, count in weights.items()) / sum(weights.values())
    assert budget - 0.5 < spent <= budget + 1e-9


def test_more_budget_costs_less(model, calibration):
    costs = []
    for budget in (3.3, 4.0, 5.0):
        model.clear()
        step = check(SMALL.format(budget)).steps[0]
        made = Context(Bits.parse("w4a4"), scheme=step.scheme.method)
        step.method.apply(model, calibration, made)
        costs.append(made.notes["cost"])
        assert made.notes["spent"] <= budget + 1e-9
        assert not model.quantizers
    assert costs[0] > costs[1] > costs[2]


def test_layers_outside_of_blocks_keep_the_width_of_the_trial(model, calibration):
    apply(check(SMALL.format(5.0)).steps, model, calibration, "w7a7")
    assert model.quantizers["head.weight"].bits == 7
    assert model.quantizers["patch_embed.proj.weight"].bits == 7


def test_a_budget_below_the_narrowest_widths_is_refused(model, calibration):
    with pytest.raises(IncompatibleError, match=r"a budget of 2\.5 is below what the narrowest widths spend"):
        apply(check(SMALL.format(2.5)).steps, model, calibration, "w4a4")


def test_widths_that_leave_none_to_choose_are_refused():
    with pytest.raises(Exception, match="lowest=7 is above highest=5"):
        check("nuclear(lowest=7,highest=5)+minmax")


def test_the_map_in_the_record_is_the_same_network(model, calibration):
    first, scheme = check(SMALL.format(4.25)).steps
    made = Context(Bits.parse("w5a5"), scheme=first.scheme.method)
    first.method.apply(model, calibration, made)
    apply([scheme], model, calibration, "w5a5")
    expected = bytes_of(model)[0]
    assert len({one.bits for one in model.quantizers.values()} - {8}) > 1
    model.clear()
    apply([scheme], model, calibration, made.notes["bit_map"])
    assert bytes_of(model)[0] == expected
