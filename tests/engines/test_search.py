"""Evol-Q and gradient search: only what changed is recomputed, and nothing is evaluated twice."""

from dataclasses import replace

import pytest
import torch

from harness.data.sets import CalibrationSet
from harness.engines import losses
from harness.engines.evolution import Mutation
from harness.engines.held_out import parted, sqnr_db
from harness.engines.scale_search import Objective, Unit, batches_of, read_scales, units_of, write_scales
from harness.method.base import Context
from harness.method.stack import check
from harness.methods.evolq import mutation_of
from harness.quant.format.power_of_two import PowerOfTwo
from harness.trial.bits import Bits


def calibrated(model, calibration, bits="w4a8", stack="fqvit"):
    for step in check(stack).steps:
        step.method.apply(model, calibration, Context(Bits.parse(bits)))
    return model


def search(model, calibration, step, seed=0, bits="w4a8", **context):
    context = Context(Bits.parse(bits), seed, **context)
    before = model.image_forwards
    check(f"fqvit+{step}").steps[1].method.apply(model, calibration, context)
    return context.notes, (model.image_forwards - before) / len(calibration)


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_forward_passes_are_far_below_the_naive_count(order, model, calibration):
    calibrated(model, calibration)
    notes, passes = search(model, calibration, f"evolq(passes=2,order={order},batch=8)")
    assert notes["evaluations"] == 1 + 2 * 6 * 3, "one evaluation for identical members, none between units"
    assert notes["naive_forward_passes"] == 2 * 6 * (15 + 3)
    assert notes["release_forward_passes"] == 2 * 6 * (1 + 3), "the released code scores the copies once"
    assert notes["held_out_evaluations"] <= 1 + 2 * 6
    assert passes < notes["evaluations"] + 6


@pytest.mark.parametrize(
    "step", ["evolq(passes=2,batch=8)", "evolq(passes=1,batch=8,order=reverse,scope=block,selection=fitness)"]
)
def test_the_loss_reported_is_the_loss_of_the_result(step, model, calibration):
    """Caches that went stale would show here: the final loss is computed afresh from the images."""
    calibrated(model, calibration)
    notes, _ = search(model, calibration, step)
    reported = notes.get("loss_selected", notes["loss_end"])
    assert objective(model, searched(calibration)).value(0) == pytest.approx(reported, rel=1e-7)
    assert notes["loss_end"] <= notes["loss_start"]
    assert notes["curves"]["loss"][0] == notes["loss_start"]
    assert notes["curves"]["loss"][-1] == notes["loss_end"]


def searched(calibration):
    images, _ = parted(calibration.images, 0.25)
    return images


def objective(model, images, batch=8, name="infonce"):
    loss = losses.named(name, temperature=3.0, normalise=True)
    return Objective(model, batches_of(images, batch), loss, "true_fp")


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_gradopt_reports_the_loss_of_its_result(optimizer, model, calibration):
    calibrated(model, calibration, "w3a8")
    notes, _ = search(model, calibration, f"gradopt(passes=1,steps=2,batch=8,tried_units=1,optimizer={optimizer})")
    assert objective(model, searched(calibration)).value(0) == pytest.approx(notes["loss_selected"], rel=1e-7)
    assert notes["loss_end"] <= notes["loss_start"]
    assert not any(quantizer.scale.requires_grad for quantizer in model.quantizers.values())
    assert len(notes["tried"]) == 2 * 5
    assert notes["lr"] in {row["lr"] for row in notes["tried"]}


def test_gradopt_chooses_a_rate_that_moves_the_scales(model, calibration):
    """A baseline that cannot move is none: the old defaults gained 0.00 dB."""
    calibrated(model, calibration, "w3a8")
    before = {name: quantizer.scale for name, quantizer in model.quantizers.items()}
    few = CalibrationSet(calibration.images[:12])
    notes, _ = search(model, few, "gradopt(passes=1,steps=4,loss=mse,tried_units=1,held_out=0)", bits="w3a8")
    gains = {(row["lr"], row["steps"]): row["mean_gain"] for row in notes["tried"]}
    assert gains[notes["lr"], notes["steps"]] == max(gains.values()) > 0
    assert notes["loss_end"] < 0.95 * notes["loss_start"]
    moved = [name for name, quantizer in model.quantizers.items() if not torch.equal(quantizer.scale, before[name])]
    assert moved


def test_gradopt_takes_the_rate_it_is_given(model, calibration):
    calibrated(model, calibration)
    notes, _ = search(model, calibration, "gradopt(passes=1,steps=1,choose=given,lr=0.002,held_out=0)")
    assert (notes["lr"], notes["tried"], notes["images_held_out"]) == (0.002, [], 0)


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


def random_logits():
    target = torch.randn(20, 10, generator=torch.Generator().manual_seed(0)) * 3
    return target, target + 0.3 * torch.randn(20, 10, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", losses.NAMES)
def test_every_loss_tells_large_noise_and_runs(name, model, calibration):
    loss = losses.named(name, temperature=3.0, normalise=True)
    target, noisy = random_logits()
    assert loss(target, target) < loss(noisy, target) < loss(noisy.roll(1, 0), target)
    calibrated(model, calibration)
    notes, _ = search(model, calibration, f"evolq(passes=1,cycles=1,batch=8,loss={name})")
    assert notes["loss_end"] <= notes["loss_start"]


@pytest.mark.parametrize("name", [name for name in losses.NAMES if name != "infonce"])
def test_losses_that_are_smallest_at_the_target(name):
    target, _ = random_logits()
    loss = losses.named(name, temperature=3.0, normalise=True)
    at_target = target.clone().requires_grad_(True)
    value = loss(at_target, target)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert at_target.grad.norm() < 1e-5


@pytest.mark.parametrize("normalise", [True, False])
def test_the_contrastive_loss_falls_below_full_precision_against_itself(normalise):
    """It has a slope at the target: away from the other images' logits. The floor is what it is there."""
    target, _ = random_logits()
    at_target = target.clone().requires_grad_(True)
    floor = losses.infonce(at_target, target, 3.0, normalise)
    floor.backward()
    away = target - 0.05 * target.norm() * at_target.grad / at_target.grad.norm()
    assert losses.infonce(away, target, 3.0, normalise) < floor


def test_fisher_weights_a_class_by_the_square_of_its_gradient():
    """Expectation over the network's own labels of the squared gradient of the cross-entropy, by hand."""
    target, output = random_logits()
    expected = 0.0
    for image, other in zip(target, output, strict=True):
        probability = image.softmax(0)
        for label in range(10):
            gradient = probability - torch.nn.functional.one_hot(torch.tensor(label), 10)
            expected += float(probability[label] * (gradient.square() * (other - image).square()).sum()) / 20
    assert losses.fisher(output, target).item() == pytest.approx(expected, rel=1e-4)


def test_a_search_that_ends_below_its_floor_says_so(model, calibration):
    """The printed formula of the paper: inner products drive the loss below that of full precision against itself."""
    calibrated(model, calibration, "w8a8")
    printed = "scope=block,formula=paper,temperature=1.0,mutation=paper,selection=fitness,passes=1,cycles=1"
    notes, _ = search(model, calibration, f"evolq({printed})", bits="w8a8")
    images = searched(calibration)
    full = model.full_precision(images)
    assert notes["loss_floor"] == pytest.approx(losses.infonce(full, full, 1.0, False).item(), rel=1e-6)
    assert notes["loss_end"] < notes["loss_floor"]
    assert "below that of full precision against itself" in notes["warning"]


def test_stop_at_floor_refuses_what_lies_below(model, calibration):
    calibrated(model, calibration, "w8a8")
    printed = "scope=block,formula=paper,temperature=1.0,mutation=paper,selection=fitness,passes=2,cycles=1"
    notes, _ = search(model, calibration, f"evolq({printed},stop_at_floor=true)", bits="w8a8")
    assert notes["loss_end"] >= min(notes["loss_floor"], notes["loss_start"])
    assert notes["stopped_after_units"] < 2 * 6


def test_a_search_leaves_power_of_two_factors_on_their_grid(model, calibration):
    """Channel scales moved one by one were 1 : 2.0228 : 2.0256, and the record said nothing."""
    calibrated(model, calibration, "w8a8")
    before = {name: q for name, q in model.quantizers.items() if isinstance(q, PowerOfTwo)}
    search(model, calibration, "evolq(scope=block,passes=1,loss=mse,relative=true,share=0.02)", bits="w8a8")
    assert any(not torch.equal(model.quantizers[name].scale, quantizer.scale) for name, quantizer in before.items())
    for name, quantizer in before.items():
        scale = model.quantizers[name].scale
        assert torch.equal(scale / scale.min(), quantizer.factors)
        assert model.quantizers[name].on_grid(None)
        drifted = replace(quantizer, scale=quantizer.scale * torch.linspace(1, 1.03, 96))
        assert not drifted.on_grid(None)
        assert drifted.realisation(None).grid == "not realisable"


def test_the_shared_zero_point_moves_with_the_base_scale(model, calibration):
    calibrated(model, calibration, "w8a8")
    unit = units_of(model, "block")[1]
    (name, *_) = [site for site in unit.sites if isinstance(model.quantizers[site], PowerOfTwo)]
    before = model.quantizers[name]
    write_scales(model, unit, read_scales(model, unit) * 1.1, move_zero_points=True)
    after = model.quantizers[name]
    assert after.zero_point.shape == before.zero_point.shape == (1,)
    assert after.zero_point < before.zero_point
    assert torch.allclose(after.scale, before.scale * 1.1)


def test_what_helps_held_out_images_is_kept(model, calibration):
    """The start takes part in the choice, so a search cannot end with less on held-out images than it began with."""
    calibrated(model, calibration, "w8a8")
    printed = "scope=block,formula=paper,temperature=1.0,mutation=paper,passes=2"
    notes, _ = search(model, calibration, f"evolq({printed})", bits="w8a8")
    curve = notes["curves"]["held_out_sqnr_db"]
    assert notes["images_held_out"] == len(calibration) // 4
    assert notes["images_used"] + notes["images_held_out"] == len(calibration)
    assert curve[-1] < curve[0], "the printed formula harms unseen images"
    assert notes["selected_merit"] >= max(curve) - 1e-4
    _, held = parted(calibration.images, 0.25)
    assert sqnr_db([model(held)], [model.full_precision(held)]) == pytest.approx(notes["selected_merit"], abs=1e-3)


def test_relative_noise_is_a_share_of_each_scale(model, calibration):
    parent = torch.tensor([1e-4, 1.0, 50.0]).repeat(100)
    child = Mutation(0.05, relative=True).child(parent, torch.Generator().manual_seed(0))
    change = (child / parent - 1).abs()
    assert change.max() <= 0.0501
    assert change.reshape(100, 3).amax(0).min() > 0.04
    calibrated(model, calibration)
    notes, _ = search(model, calibration, "evolq(passes=1,cycles=1,relative=true,share=0.03)")
    assert notes["mutation_range"] == 0.03


def test_batches_are_even_and_a_mean_is_one_over_images(model, calibration):
    """256 images in batches of 100 used to leave 56 with the weight of 100 and fewer negatives."""
    images = torch.zeros(256, 1)
    assert [len(batch) for batch in batches_of(images, 100)] == [86, 85, 85]
    assert [len(batch) for batch in batches_of(images, 100, drop_incomplete=True)] == [100, 100]
    assert [len(batch) for batch in batches_of(images, 300, drop_incomplete=True)] == [256]
    calibrated(model, calibration)
    uneven = objective(model, calibration.images[:7], 4, "mse")
    assert uneven.value(0) == pytest.approx(objective(model, calibration.images[:7], 7, "mse").value(0), rel=1e-5)


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


@pytest.mark.parametrize(("first_pass", "chosen"), [("best", 2), ("overwrite", 5)])
def test_selection_by_evaluation(first_pass, chosen, model, calibration):
    """The best state seen; in the released code every unit of the first pass overwrites it whatever its top-1."""
    calibrated(model, calibration)
    seen = []

    def evaluate():
        seen.append((float(len(seen) == 2), read_scales(model, units_of(model, "attention_weights")[2]).clone()))
        return seen[-1][0]

    step = f"evolq(passes=1,batch=8,selection=evaluation,mutation=fixed,first_pass={first_pass})"
    notes, _ = search(model, calibration, step, evaluate=evaluate)
    assert len(seen) == 6
    assert notes["selected_top1"] == seen[chosen][0]
    assert torch.equal(read_scales(model, units_of(model, "attention_weights")[2]), seen[chosen][1])


def test_the_release_preset_is_complete():
    config = check("fqvit+evolq(preset=release)").steps[1].method.config
    assert (config.scope, config.order, config.clip, config.formula) == ("attention_weights", "reverse", "abs", "release")
    assert (config.mutation, config.temperature, config.target) == ("release", 3.0, "release")
    assert (config.selection, config.first_pass, config.levit_range) == ("evaluation", "overwrite", "release")
    assert (config.held_out, config.drop_incomplete, config.batch, config.zero_points) == (0.0, True, 100, "keep")
    assert (config.passes, config.population, config.cycles, config.samples) == (10, 15, 3, 10)


@pytest.mark.parametrize(("levit_range", "width"), [("weights", 1e-3), ("release", 1e-4)])
def test_the_release_reads_the_wrong_width_in_subsampling_attention(levit_range, width):
    config = check(f"fqvit+evolq(levit_range={levit_range})").steps[1].method.config
    context = Context(Bits.parse("w4a8"))
    assert mutation_of(config, Unit("stages.1.downsample.attn_downsample", 3, ()), context.bits).half_width == width
    assert mutation_of(config, Unit("stages.1.blocks.0.attn", 4, ()), context.bits).half_width == 1e-3


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
