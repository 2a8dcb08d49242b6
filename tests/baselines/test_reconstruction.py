"""Reconstruction: what rounding may do, that it helps, and that an interruption changes nothing."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.baselines.engines.reconstruction import _Reconstruction
from harness.baselines.engines.soft_rounding import SoftRounding
from harness.errors import UsageError
from harness.method.checkpoint import Checkpoint
from harness.method.stack import check
from harness.quant.format.affine import AffineSpec
from harness.quant.format.uniform import from_range
from harness.quant.network.inventory import off_grid_sites
from harness.quant.network.state import state_of
from tests.baselines import applying

apply = partial(applying.apply, bits="w3a8")

METHODS = ("adaround", "brecq", "brecq(loss=fisher)", "qdrop", "fimaq(rank=2)")


def with_iterations(method, count):
    name, _, rest = method.partition("(")
    return f"{name}(iterations={count}{',' + rest if rest else ')'}"


@given(st.integers(2, 8), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_rounding_starts_at_the_weight_and_never_moves_more_than_one_step(bits, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(6, 20, generator=generator)
    low, high = weight.amin(1), weight.amax(1)
    quantizer = from_range(AffineSpec(bits, axis=0), low, high)
    rounding = SoftRounding(weight, quantizer)
    step = quantizer.scale[:, None]
    inside = (rounding.floor + quantizer.zero_point[:, None] >= 0) & (
        rounding.floor + quantizer.zero_point[:, None] + 1 <= 2**bits - 1
    )
    assert ((rounding.soft() - weight).abs() <= 2e-4 * step)[inside].all()
    rounding.variable.data.uniform_(-8, 8, generator=generator)
    hard = rounding.hard()
    assert ((hard - weight).abs() <= step * 1.0001)[inside].all()
    assert torch.allclose(quantizer.weight(hard, weight), hard, atol=1e-6), "the quantizer leaves it where it is"
    codes = hard / step + quantizer.zero_point[:, None]
    assert (codes - codes.round()).abs().max() < 1e-3
    assert rounding.undecided(2.0) >= 0


@pytest.mark.parametrize("method", METHODS)
def test_outputs_come_closer_to_full_precision(method, model, calibration, context):
    images = calibration.images
    target = model.full_precision(images)
    apply(model, calibration, context, "repqvit")
    before = (model(images) - target).square().mean()
    model.clear()
    made = apply(model, calibration, context, f"repqvit+{with_iterations(method, 60)}")
    after = (model(images) - target).square().mean()
    assert after < 0.95 * before
    weights = [name for name in off_grid_sites(model) if name in model.weights]
    assert weights == [], "weights stay on their grid"
    assert made.notes["units"] == (26 if method == "adaround" else 8)


def test_weights_move_at_most_one_step_in_a_real_run(model, calibration, context):
    apply(model, calibration, context, "repqvit+brecq(iterations=40,lr=0.1)")
    for name, operation in model.weights.items():
        quantizer = model.quantizers[name]
        nearest = quantizer.weight(operation.present_weight, operation.present_weight)
        moved = (operation.quantized_weight() - nearest).abs() / quantizer.scale.reshape(-1, *[1] * (nearest.ndim - 1))
        assert moved.max() <= 1.001
    assert any(
        not torch.equal(model.rounded_weights[n], model.quantizers[n].weight(o.present_weight, o.present_weight))
        for n, o in model.weights.items()
    )


def test_qdrop_learns_scales_and_brecq_leaves_them(model, calibration, context):
    name = "blocks.2.mlp.fc1:linear[x]"
    apply(model, calibration, context, "repqvit")
    scale = model.quantizers[name].scale.clone()
    for stack, changed in (("brecq(iterations=5)", False), ("qdrop(iterations=5,scale_lr=0.001)", True)):
        model.clear()
        apply(model, calibration, context, f"repqvit+{stack}")
        assert torch.equal(model.quantizers[name].scale, scale) is not changed
        assert not model.quantizers[name].scale.requires_grad


@pytest.mark.parametrize("method", ["brecq(iterations=4)", "qdrop(iterations=4)", "adaround(iterations=3)"])
def test_an_interrupted_run_ends_with_the_same_bytes(method, model, calibration, context, tmp_path, monkeypatch):
    apply(model, calibration, context, f"repqvit+{method}")
    expected, _ = state_of(model)
    model.clear()
    scheme, learn = check(f"repqvit+{method}").steps
    scheme.method.apply(model, calibration, context("w3a8"))
    whole, segments = _Reconstruction._segment, []

    def interrupted(self, visit, task):
        if len(segments) == 3:
            raise KeyboardInterrupt
        segments.append(visit.index)
        whole(self, visit, task)

    monkeypatch.setattr(_Reconstruction, "_segment", interrupted)
    checkpoint = Checkpoint(tmp_path / "partial.safetensors")
    with pytest.raises(KeyboardInterrupt):
        learn.method.apply(model, calibration, context("w3a8", checkpoint=checkpoint))
    checkpoint.flush()
    monkeypatch.undo()
    model.clear()
    scheme.method.apply(model, calibration, context("w3a8"))
    learn.method.apply(model, calibration, context("w3a8", checkpoint=Checkpoint(tmp_path / "partial.safetensors")))
    found, _ = state_of(model)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_evolq_goes_on_from_a_reconstructed_network(model, calibration, context):
    made = apply(model, calibration, context, "minmax+brecq(iterations=3)+evolq(passes=1,cycles=1,batch=16)", bits="w4a4")
    assert made.notes["loss_end"] <= made.notes["loss_start"]
    assert all(name in model.rounded_weights for name in model.weights)


def test_presets_and_wrong_settings():
    assert check("fqvit+brecq(preset=paper)").steps[1].method.config.iterations == 20_000
    assert check("fqvit+brecq(preset=paper,iterations=7)").steps[1].method.config.iterations == 7
    with pytest.raises(UsageError, match="has no setting 'iteration'"):
        check("fqvit+brecq(iteration=7)")
