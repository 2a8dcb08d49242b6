"""SmoothQuant's equivalence and its effect on ranges; group-wise scales against their definition."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.baselines.groupwise import group_ranges
from harness.errors import IncompatibleError
from harness.method.stack import check
from harness.quant.network.inventory import off_grid_sites
from harness.quant.network.state import restore, state_of
from tests.baselines import applying

apply = partial(applying.apply, bits="w8a8")


@pytest.mark.parametrize("stack", ["minmax+smoothquant", "fqvit+smoothquant(alpha=0.8)", "repqvit+smoothquant"])
def test_the_smoothed_network_computes_the_same_in_full_precision(stack, model, calibration, context):
    expected = model.full_precision(calibration.images)
    made = apply(model, calibration, context, stack)
    assert made.notes["smoothed_norms"] == 12
    model.quantizers.clear()
    model.integer_norms.clear()
    assert (model(calibration.images) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_alpha_trades_the_spread_of_activations_for_that_of_weights(model, calibration, context):
    spreads = []
    for alpha in (0.1, 0.9):
        model.clear()
        apply(model, calibration, context, f"minmax+smoothquant(alpha={alpha})")
        weight = model.weights["blocks.1.mlp.fc1.weight"].present_weight.abs().amax(0)
        gain = model.norm_parameters(model.sites["blocks.1.mlp.fc1:linear[x]"].source)[0].abs()
        spreads.append(((weight.max() / weight.min()).item(), (gain.max() / gain.min()).item()))
    assert spreads[0][0] < spreads[1][0]


def test_ranges_after_smoothing_are_those_that_are_seen(model, calibration, context):
    apply(model, calibration, context, "minmax+smoothquant")
    seen = {}
    names = [name for name in model.quantizers if name.endswith("norm1:layer_norm")]
    images = calibration.images
    quantizers = dict(model.quantizers)
    model.quantizers.clear()  # the transformed network in full precision
    model.observe(images, lambda name, x: seen.update({name: (x.min(), x.max())}) if name in names else None, quantize=True)
    for name in names:
        assert torch.allclose(quantizers[name].minimum, seen[name][0], rtol=1e-3)
        assert torch.allclose(quantizers[name].maximum, seen[name][1], rtol=1e-3)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 10**6))
def test_groups_cover_their_channels_and_are_as_many_as_asked(channels, groups, seed):
    generator = torch.Generator().manual_seed(seed)
    low = -torch.rand(channels, generator=generator) * 5
    high = torch.rand(channels, generator=generator) * 5
    group_low, group_high = group_ranges(low, high, groups)
    assert (group_low <= low).all()
    assert (group_high >= high).all()
    assert len({*zip(group_low.tolist(), group_high.tolist(), strict=True)}) <= groups
    if groups == 1:
        assert (group_low == low.min()).all()
    if groups >= channels:
        assert torch.equal(group_low, low)


def test_more_groups_lower_the_error(model, calibration, context):
    images = calibration.images
    target, errors = model.full_precision(images), []
    for stack in ("minmax", "minmax+groupwise", "minmax+groupwise(groups=96)"):
        model.clear()
        apply(model, calibration, context, stack, bits="w8a4")
        errors.append((model(images) - target).square().mean().item())
    assert errors[1] < 0.8 * errors[0]
    assert errors[2] < errors[1]
    assert len(model.quantizers["blocks.0.norm1:layer_norm"].scale) == 96


def test_empirical_correction_sees_operands_as_the_weights_do(model, calibration, context):
    """It once measured the shift before the operand's quantizer: not what the quantized weight is multiplied with."""
    apply(model, calibration, context, "repqvit")
    before = dict(model.bias_shifts)
    model.clear()
    apply(model, calibration, context, "repqvit+biascorr(form=empirical)")
    for index, segment in enumerate(model.segments):
        inputs = model.run(calibration.images, 0, index)
        for operation in model.quantized_weights(index):
            found = {}
            model.observe(
                inputs, lambda name, x, found=found: found.update({name: x}), quantize=True, start=index, stop=index + 1
            )
            x = model.quantizers[operation.operand](found[operation.operand])
            error = operation.function(x, operation.quantized_weight() - operation.present_weight, None)
            shift = model.bias_shifts[operation.node] - before.get(operation.node, 0)
            mean = error.movedim(1 if operation.weight.ndim > 2 else -1, 0).flatten(1).mean(dim=1)
            assert (mean + shift).abs().max() < 1e-4 * error.abs().max(), (segment.name, operation.site.name)


def seen_in_full_precision(model, images):
    """What every site sees while transforms act and quantizers do not."""
    found = {}
    model.observe(images, lambda name, x: found.update({name: x.clone()}))
    return found


@pytest.mark.parametrize("scheme", ["repqvit", "minmax+smoothquant", "repqvit+smoothquant"])
@pytest.mark.parametrize("written_before", [False, True])
def test_corrections_for_quantized_weights_do_not_act_in_full_precision(scheme, written_before, model, calibration, context):
    """Reconstruction behind a bias correction once learned from full-precision weights with biases for quantized ones.

    States of before keep what they say of transforms.
    """
    apply(model, calibration, context, scheme)
    expected = seen_in_full_precision(model, calibration.images)
    tensors, facts = state_of(model)
    if written_before:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("transform_shift/")}
        facts.pop("parted_shifts", None)
    model.clear()
    restore(model, tensors, facts)
    shifts = dict(model.bias_shifts)
    for operation in model.weights.values():
        model.shift_bias(operation.node, torch.ones(len(operation.weight)))
    assert {*model.bias_shifts} > {*shifts}
    got = seen_in_full_precision(model, calibration.images)
    assert all(torch.equal(got[name], seen) for name, seen in expected.items())
    assert not torch.equal(model(calibration.images), model.full_precision(calibration.images))


def test_off_grid_sites_do_not_depend_on_the_order_of_installation(model, calibration, context):
    apply(model, calibration, context, "repqvit")
    expected = off_grid_sites(model)
    quantizers = dict(model.quantizers)
    model.quantizers.clear()
    model.quantizers.update(reversed(quantizers.items()))
    assert off_grid_sites(model) == expected == sorted(expected)


@pytest.mark.parametrize("method", ["omse", "omse(targets=weights)", "smoothquant"])
def test_what_moves_the_grid_of_rounded_weights_is_refused(method, model, calibration, context):
    apply(model, calibration, context, "fqvit+gptq(images=4)")
    step, name = check(f"fqvit+{method}").steps[1], method.partition("(")[0]
    with pytest.raises(
        IncompatibleError, match=rf"{name} moves the grid of weights.*\(put {name} before the step"
    ) as caught:
        step.method.apply(model, calibration, context("w4a8"))
    assert next(iter(model.rounded_weights)) in str(caught.value)


def test_ranges_of_activations_may_be_searched_after_rounding(model, calibration, context):
    apply(model, calibration, context, "fqvit+gptq(images=4)")
    before = dict(model.quantizers)
    check("fqvit+omse(targets=activations)").steps[1].method.apply(model, calibration, context("w4a8"))
    assert {name for name in before if model.quantizers[name] is not before[name]} & set(model.weights) == set()
    assert any(model.quantizers[name] is not before[name] for name in before)
