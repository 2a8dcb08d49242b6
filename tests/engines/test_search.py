"""Evol-Q and gradient search: only what changed is recomputed, and nothing is evaluated twice."""

import pytest
import torch

from harness.engines import losses
from harness.engines.scale_search import Objective, read_scales, units_of, write_scales
from harness.method.base import Context
from harness.method.stack import check
from harness.trial.bits import Bits


def calibrated(model, calibration, bits="w4a8", stack="fqvit"):
    for step in check(stack).steps:
        step.method.apply(model, calibration, Context(Bits.parse(bits)))
    return model


def search(model, calibration, step, seed=0, **context):
    context = Context(Bits.parse("w4a8"), seed, **context)
    before = model.image_forwards
    check(f"fqvit+{step}").steps[1].method.apply(model, calibration, context)
    return context.notes, (model.image_forwards - before) / len(calibration)


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_forward_passes_are_far_below_the_naive_count(order, model, calibration):
    calibrated(model, calibration)
    notes, passes = search(model, calibration, f"evolq(passes=2,order={order},batch=8)")
    assert notes["evaluations"] == 1 + 2 * 6 * 3, "one evaluation for identical members, none between units"
    assert notes["naive_forward_passes"] == 2 * 6 * (15 + 3)
    assert passes < notes["evaluations"] + 6


@pytest.mark.parametrize("step", ["evolq(passes=2,batch=8)", "evolq(passes=1,batch=8,order=reverse,scope=block)"])
def test_the_loss_reported_is_the_loss_of_the_result(step, model, calibration):
    """Caches that went stale would show here: the final loss is computed afresh from the images."""
    calibrated(model, calibration)
    notes, _ = search(model, calibration, step)
    loss = losses.named("infonce", temperature=3.0, normalise=True)
    fresh = Objective(model, list(calibration.batches(8)), loss, "true_fp")
    assert fresh.value(0) == pytest.approx(notes["loss_end"], rel=1e-7)
    assert notes["loss_end"] <= notes["loss_start"]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_gradopt_reports_the_loss_of_its_result(optimizer, model, calibration):
    calibrated(model, calibration, "w3a8")
    notes, _ = search(model, calibration, f"gradopt(passes=1,steps=2,batch=8,optimizer={optimizer})")
    loss = losses.named("infonce", temperature=3.0, normalise=True)
    fresh = Objective(model, list(calibration.batches(8)), loss, "true_fp")
    assert fresh.value(0) == pytest.approx(notes["loss_end"], rel=1e-7)
    assert notes["loss_end"] <= notes["loss_start"]
    assert not any(quantizer.scale.requires_grad for quantizer in model.quantizers.values())


def test_gradients_reach_every_scale(model, calibration):
    calibrated(model, calibration, "w3a8", "fqvit+biascorr")
    loss = losses.named("mse", temperature=1.0, normalise=False)
    objective = Objective(model, [calibration.images], loss, "true_fp")
    (unit, *_) = units_of(model, "block")
    variable = read_scales(model, unit).requires_grad_(True)
    write_scales(model, unit, variable)
    loss(model.run(objective.inputs(unit.segment)[0], unit.segment), objective.targets[0]).backward()
    assert torch.isfinite(variable.grad).all()
    assert (variable.grad != 0).float().mean() > 0.9


def test_units(model, calibration):
    calibrated(model, calibration)
    attention = units_of(model, "attention_weights")
    assert [unit.name for unit in attention] == [f"blocks.{i}.attn" for i in range(6)]
    assert attention[0].sites == ("blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight")
    assert len(read_scales(model, attention[0])) == 3 * 96 + 96
    assert len(units_of(model, "block_weights")[0].sites) == 4
    assert len(units_of(model, "block")[0].sites) == 15


@pytest.mark.parametrize("name", losses.NAMES)
def test_every_loss_is_smallest_at_the_target_and_runs(name, model, calibration):
    loss = losses.named(name, temperature=3.0, normalise=True)
    target = torch.randn(20, 10, generator=torch.Generator().manual_seed(0)) * 3
    noisy = target + 0.3 * torch.randn(20, 10, generator=torch.Generator().manual_seed(1))
    assert loss(target, target) < loss(noisy, target) < loss(noisy.roll(1, 0), target)
    calibrated(model, calibration)
    notes, _ = search(model, calibration, f"evolq(passes=1,cycles=1,batch=8,loss={name})")
    assert notes["loss_end"] <= notes["loss_start"]


def test_infonce_against_float64():
    output, target = torch.randn(7, 5), torch.randn(7, 5)
    q = (output / output.norm(dim=1, keepdim=True)).double()
    k = (target / target.norm(dim=1, keepdim=True)).double()
    terms = [-(q[i] @ k[i]) / 3 + torch.logsumexp(torch.stack([q[i] @ k[j] for j in range(7)]) / 3, 0) for i in range(7)]
    expected = 2 * 3.0 * torch.stack(terms).mean()
    assert losses.infonce(output, target, 3.0, True).item() == pytest.approx(expected.item(), rel=1e-5)


def test_temperature_three_spans_a_tiny_range():
    """Known figures for 100 random logits: a perfect copy gives about 25.65, chance 27.63."""
    logits = torch.randn(100, 1000, generator=torch.Generator().manual_seed(0))
    other = torch.randn(100, 1000, generator=torch.Generator().manual_seed(1))
    assert losses.infonce(logits, logits, 3.0, True).item() == pytest.approx(25.654, abs=0.02)
    assert losses.infonce(logits, other, 3.0, True).item() == pytest.approx(27.631, abs=0.02)


def test_selection_by_evaluation_returns_the_best_seen(model, calibration):
    calibrated(model, calibration)
    seen = []

    def evaluate():
        seen.append((float(len(seen) == 2), read_scales(model, units_of(model, "attention_weights")[2]).clone()))
        return seen[-1][0]

    notes, _ = search(model, calibration, "evolq(passes=1,batch=8,selection=evaluation,mutation=fixed)", evaluate=evaluate)
    assert len(seen) == 6
    assert notes["selected_top1"] == 1.0
    assert torch.equal(read_scales(model, units_of(model, "attention_weights")[2]), seen[2][1])


def test_empirical_bias_correction_removes_the_mean_error(model, calibration):
    calibrated(model, calibration, "w3a8")
    first = model.weights["patch_embed.proj.weight"]
    check("fqvit+biascorr(form=empirical)").steps[1].method.apply(model, calibration, Context(Bits.parse("w3a8")))
    error = first.function(calibration.images, first.quantized_weight() - first.weight, model.bias_shifts[first.node])
    assert error.mean((0, 2, 3)).abs().max() < 1e-5
    assert len(model.bias_shifts) == 26


def test_moving_zero_points_keeps_the_lower_end(model, calibration):
    calibrated(model, calibration)
    unit = units_of(model, "attention_weights")[0]
    before = model.quantizers[unit.sites[0]]
    write_scales(model, unit, read_scales(model, unit) * 1.3, move_zero_points=True)
    after = model.quantizers[unit.sites[0]]
    assert not torch.equal(before.zero_point, after.zero_point)
    assert ((-after.zero_point * after.scale) - after.minimum).abs().le(after.scale * 0.51).all()
