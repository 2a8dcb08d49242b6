"""I&S-ViT: its quantizer by brute force, and what each of its three stages may and may not change."""

import pytest
import torch

from harness.baselines import isvit
from harness.baselines.engines import smooth_stages
from harness.errors import IncompatibleError
from harness.graph.operations import Kind
from harness.method.checkpoint import Checkpoint
from harness.method.stack import check
from harness.quant.format import RoundedFirst, ShiftUniformLog2, Uniform
from harness.quant.network.inventory import off_grid_sites
from harness.quant.network.operands import inner_norms
from harness.quant.network.state import state_of
from tests.baselines.applying import apply


@pytest.fixture(scope="module")
def probabilities():
    scores = 2 * torch.randn(3, 4, 17, 17, generator=torch.Generator().manual_seed(3))
    return scores.softmax(-1)


@pytest.mark.parametrize(("bits", "released"), [(3, False), (4, False), (3, True)])
def test_the_quantizer_is_its_formula_number_by_number(bits, released, probabilities):
    """In double precision, with Python's own rounding: no code of the format is used."""
    one = ShiftUniformLog2.on(probabilities, bits, 0.02, released=released)
    logs = torch.log2(probabilities.double() + 0.02)
    low, high, last = float(logs.min()), float(logs.max()), 2**bits - (0 if released else 1)
    step = (high - low) / last
    found, codes, differ = one.quantize(probabilities), one.codes(probabilities), 0
    for x, value, code in zip(logs.flatten().tolist(), found.flatten().tolist(), codes.flatten().tolist(), strict=True):
        position = (x - low) / step
        expected = min(max(round(position), 0), last)
        if abs(position % 1 - 0.5) < 1e-4 or abs((expected * step + low) % 1 - 0.5) < 1e-4:
            continue  # a tie but for single precision
        differ += code != expected or abs(value - (2.0 ** round(expected * step + low) - 0.02)) > 1e-6
    assert differ == 0
    assert len(codes.unique()) <= 2**bits + released
    assert one.levels == 2**bits + released


def test_the_shift_is_the_best_of_eleven(probabilities):
    found = isvit.shifted(probabilities, 3)
    errors = {
        shift: float((ShiftUniformLog2.on(probabilities, 3, shift).quantize(probabilities) - probabilities).square().sum())
        for shift in isvit.SHIFTS
    }
    assert len(errors) == 11
    assert float(found.scale[0]) == pytest.approx(min(errors, key=errors.get))


def test_the_first_stage_and_the_reparameterisation_leave_weights_in_floating_point(
    model, calibration, context, monkeypatch
):
    """Before the reparameterisation activations behind norms have a scale for each channel, and no weight has any."""
    seen, reparameterise = {}, isvit.reparameterise

    def watched(model, zero_point):
        seen["weights"] = [name for name in model.weights if name in model.quantizers]
        operands = [one.operand for operations in inner_norms(model).values() for one in operations]
        seen["axes"] = {model.quantizers[name].axis for name in operands}
        seen["moved"] = {
            name: bool((weight != model.weights[name].weight).any()) for name, weight in model.replaced_weights.items()
        }
        before = model(calibration.images)
        found = reparameterise(model, "fraction")  # the paper's equality
        seen["same"] = torch.isclose(model(calibration.images), before, atol=2e-2).all(1)
        return found

    monkeypatch.setattr(isvit, "reparameterise", watched)
    apply(model, calibration, context, "isvit(iterations=3,lr=0.0001,scale_images=8)", bits="w4a4")
    assert seen["weights"] == []
    assert seen["axes"] == {2}
    # What the image meets first is compared with itself: no error, no gradient.
    assert [name for name, moved in seen["moved"].items() if not moved] == ["patch_embed.proj.weight"]
    # Channel-wise and layer-wise activations are the same values while weights are not quantized. Where one lies between two
    # codes, the last bits of a sum decide, and those are the CPU's: an image may change, not most of them.
    assert seen["same"].float().mean() >= 0.75


def test_the_last_stage_ends_on_the_grid_and_reads_the_quantized_network(model, calibration, context, monkeypatch):
    inputs, learn_weights = [], isvit.learn_weights

    def watched(*arguments, **options):
        inputs.append((options["stage"], options["inputs"]))
        return learn_weights(*arguments, **options)

    monkeypatch.setattr(isvit, "learn_weights", watched)
    made = apply(model, calibration, context, "isvit(iterations=2,scale_images=8)", bits="w3a4")
    assert inputs == [("activations", "full"), ("weights", "quantized")]
    assert set(model.rounded_weights) == set(model.weights)
    assert not [name for name in off_grid_sites(model) if name in model.weights and model.quantizers[name].bits != 3]
    for operation in model.weights.values():
        rows = operation.quantized_weight().flatten(1)
        assert max(len(row.unique()) for row in rows) <= 8
    assert not any(tensor.requires_grad for tensor in (*model.rounded_weights.values(), *model.bias_shifts.values()))
    kinds = {type(one) for name, one in model.quantizers.items() if name not in model.weights}
    assert kinds == {Uniform, RoundedFirst, ShiftUniformLog2}
    softmax = [name for name, one in model.quantizers.items() if isinstance(one, ShiftUniformLog2)]
    assert all(model.sites[name].kind is Kind.SOFTMAX for name in softmax)
    assert len(made.notes["losses"]) == 2 * len(model.segments)


def test_learning_brings_the_logits_closer(model, calibration, context):
    images, target, errors = calibration.images, model.full_precision(calibration.images), {}
    for settings in ("iterations=0", "iterations=30,lr=0.001"):
        model.clear()
        apply(model, calibration, context, f"isvit({settings})", bits="w3a4")
        errors[settings] = float((model(images) - target).square().mean())
    nothing, three = errors.values()
    assert three < 0.7 * nothing


def test_two_stages_learn_quantized_weights_only(model, calibration, context):
    made = apply(model, calibration, context, "isvit(iterations=1,scale_images=8,stages=two)", bits="w3a4")
    assert list(made.notes["losses"]) == [f"{segment.name} (weights)" for segment in model.segments]


@pytest.mark.parametrize("stop", [3, 11])
def test_an_interrupted_run_ends_with_the_same_bytes(stop, model, calibration, context, tmp_path, monkeypatch):
    (step,) = check("isvit(iterations=2,scale_images=8)").steps
    step.method.apply(model, calibration, context("w4a4"))
    expected, _ = state_of(model)
    model.clear()
    learn, calls = smooth_stages.learn, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return learn(*arguments)

    monkeypatch.setattr(smooth_stages, "learn", interrupted)
    checkpoint = Checkpoint(tmp_path / "partial.safetensors")
    with pytest.raises(KeyboardInterrupt):
        step.method.apply(model, calibration, context("w4a4", checkpoint=checkpoint))
    checkpoint.flush()
    monkeypatch.undo()
    model.clear()
    step.method.apply(model, calibration, context("w4a4", checkpoint=Checkpoint(tmp_path / "partial.safetensors")))
    found, _ = state_of(model)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_behind_a_rotation_only_without_its_first_stage(model, calibration, context):
    """What learned weights are compared with is the turned network, which the first stage would change."""
    small = "iterations=3,lr=0.01,batch=4,scale_images=8"
    with pytest.raises(IncompatibleError, match="rotate and isvit do not go together"):
        apply(model, calibration, context, f"rotate+isvit({small})")
    model.clear()
    apply(model, calibration, context, f"rotate+isvit({small},stages=two)")
