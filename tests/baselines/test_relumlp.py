"""MLP reconstruction: what it learns, that the altered network is said to be one, and what stays of the network."""

import math

import pytest
import torch
from torch.nn import functional as F

from harness.baselines.engines.mlp_reconstruction import LearnedMlp, mlp_curvature, positive_percentile
from harness.baselines.engines.mlps import mlps_of
from harness.baselines.engines.reconstruction_losses import PredictionGradients
from harness.cli.actions.extra_lines import altered_line
from harness.engines.layerwise import walk
from harness.errors import StackError
from harness.method.stack import check
from harness.quant.network.inventory import altered
from harness.quant.network.operators import WeightedOperation
from harness.run.run_trial import run_trial
from harness.trial.spec import TrialSpec
from tests.baselines.applying import apply
from tests.lanes import sparing

LEARNED = "relumlp(iterations=150,lr=0.002,batch=16)"


def test_it_finds_one_mlp_a_block(model):
    found = mlps_of(model)
    blocks = [index for index, segment in enumerate(model.segments) if "blocks" in segment.name]
    assert list(found) == blocks
    for one in (mlp for mlps in found.values() for mlp in mlps):
        assert isinstance(one.first, WeightedOperation)
        assert one.first.site.name.endswith("mlp.fc1.weight")
        assert one.second.site.name.endswith("mlp.fc2.weight")


def test_the_network_with_relu_is_the_written_out_one(model, calibration, context):
    """At 8-bit activations without weights' quantizers nothing but ReLU and the learned weights acts."""
    apply(model, calibration, context, "relumlp(iterations=3,lr=0.01)", bits="w32a8")
    ((index, (mlp,)), *_) = mlps_of(model).items()
    assert set(model.quantizers) == set()
    seen = {}
    model.observe(calibration.images, lambda name, x: seen.__setitem__(name, x.clone()))
    x, y = seen[mlp.first.operand], seen[mlp.second.site.name.removesuffix(".weight") + ":linear"]
    weights, shifts = model.replaced_weights, model.transform_shifts
    hidden = F.relu(F.linear(x, weights[mlp.first.site.name], mlp.first.bias + shifts[mlp.first.node]))
    expected = F.linear(hidden, weights[mlp.second.site.name], mlp.second.bias + shifts[mlp.second.node])
    assert torch.allclose(y, expected, atol=1e-5)
    assert index in {model.segment_of(mlp.second.site.name)}


@pytest.mark.parametrize("loss", sparing(["aphq", "mse"], ["aphq"]))
def test_learning_makes_up_for_most_of_what_relu_takes(loss, model, calibration, context):
    images, target = calibration.images, model.full_precision(calibration.images)

    def error(settings):
        model.clear()
        apply(model, calibration, context, settings, bits="w32a8")
        return float((model(images) - target).square().mean())

    assert error(LEARNED.replace(")", f",loss={loss})")) < 0.5 * error("relumlp(iterations=0,loss=mse)")
    assert torch.equal(model.full_precision(images), target), "the network to compare with keeps its GELU"


def test_the_second_loss_cuts_activations(model, calibration):
    ((_, (mlp,)), *_) = mlps_of(model).items()
    learned = LearnedMlp(model, mlp)
    x = torch.randn(2, 3, mlp.first.weight.shape[1])
    whole, cut = learned.both(x, 0.3)
    hidden = F.relu(F.linear(x, mlp.first.weight, mlp.first.bias))
    assert torch.allclose(whole, F.linear(hidden, mlp.second.weight, mlp.second.bias), atol=1e-6)
    assert torch.allclose(cut, F.linear(hidden.clamp(0, 0.3), mlp.second.weight, mlp.second.bias), atol=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.98, 0.99, 1.0])
def test_the_cut_is_a_percentile_of_the_positive_values(share):
    values = torch.randn(7, 90, generator=torch.Generator().manual_seed(4))
    ordered = sorted(value for value in values.flatten().tolist() if value > 0)
    found = positive_percentile(values.split(3), share)
    assert found == ordered[math.ceil(share * len(ordered)) - 1]
    assert positive_percentile([-values.abs()], share) == 0.0


def test_the_curvature_is_that_of_moved_outputs_in_double_precision(model, calibration, context):
    """Against the network run again with the MLP's output moved, in float64 and with a step that float64 resolves."""
    images = calibration.images[:4]
    gradients = PredictionGradients(model, [images], context().budget, temperature=2.0)
    ((index, (mlp,)), *_) = mlps_of(model).items()
    for visit in walk(model, images, context(), batch=4, full=True, quantized=False):
        if visit.index != index:
            continue
        found = mlp_curvature(model, mlp, visit, gradients, step=0.05)
        moved = []
        for step in (0.05, -0.05):
            leaf = torch.zeros(4, *found.shape, requires_grad=True)

            def shifted(module, read, output, leaf=leaf, step=step):
                return output + leaf + step

            hook = mlp.second.register_forward_hook(shifted)
            logits = model.run_full_precision(images)
            hook.remove()
            target = F.softmax(model.full_precision(images) / 2, dim=1)
            (target * (target.log() - F.log_softmax(logits / 2, dim=1))).sum().backward()
            moved.append(leaf.grad)
        expected = (moved[0] - moved[1]).abs().mean(0)
        expected /= expected.square().mean().sqrt()
        assert torch.allclose(found, expected, rtol=1e-2, atol=1e-2)
        assert float(found.square().mean()) == pytest.approx(1, rel=1e-4)
        return
    raise AssertionError("no block was visited")


def test_records_say_that_the_network_is_altered(model, calibration, context, store):
    learned = "relumlp(iterations=1,batch=16,loss=mse)"
    apply(model, calibration, context, learned + "+minmax+brecq(iterations=2,scale_iterations=0)", bits="w4a4")
    assert altered(model) == [f"{len(mlps_of(model))} activation functions replaced by ReLU"]
    model.clear()
    assert altered(model) == []
    stack = "relumlp(iterations=2)+minmax"
    record = run_trial(TrialSpec(stack, bits="w8a8", calib=8, eval_limit=20, device="cpu"), store).record
    assert record["altered"] == ["6 activation functions replaced by ReLU"]
    assert "not the checkpoint's network" in altered_line(record)[0]
    assert altered_line({}) == []
    plain = run_trial(TrialSpec("minmax", bits="w8a8", calib=8, eval_limit=20, device="cpu"), store).record
    assert "altered" not in plain


def test_it_comes_first_and_leaves_full_precision_alone(model, calibration, context):
    assert [step.info.name for step in check("relumlp+adalog(preset=uniform)+aphq").steps] == ["relumlp", "adalog", "aphq"]
    apply(model, calibration, context, "relumlp(iterations=1)", bits="w4a32")
    assert altered(model) == []
    assert model.replaced_weights == {}


@pytest.mark.parametrize("stack", ["rotate+relumlp+minmax", "relumlp+rotate+minmax"])
def test_it_does_not_go_with_rotation(stack):
    """What a reconstruction behind both compares with would be the altered network; said before any work."""
    with pytest.raises(StackError, match="do not go together"):
        check(stack)
