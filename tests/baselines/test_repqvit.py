"""RepQ-ViT's defining property, its quantizers against their formulas, and what the record says."""

import math
from dataclasses import replace

import pytest
import torch

from harness.baselines.engines.reparameterisation import reparameterise
from harness.graph.operations import Kind
from harness.method.stack import check
from harness.quant.calibrate.placement import Placement
from harness.quant.format import arithmetic
from harness.quant.format.log_sqrt2 import log_sqrt2
from harness.quant.format.range_search import percentile_search
from harness.quant.network.inventory import coverage, off_grid_sites
from harness.quant.network.operands import inner_norms
from tests.baselines.applying import apply


@pytest.mark.parametrize("stack", ["repqvit", "repqvit(sites=deploy)"])
def test_the_reparameterised_network_computes_the_same_in_full_precision(model, calibration, context, stack):
    expected = model.full_precision(calibration.images)
    made = apply(model, calibration, context, stack)
    assert made.notes["reparameterised_norms"] == 12
    model.quantizers.clear()
    changed = model(calibration.images)
    assert not torch.equal(changed, expected), "weights and norms were rewritten"
    assert (changed - expected).abs().max() < 1e-4 * expected.abs().max()
    assert torch.equal(model.full_precision(calibration.images), expected)


def test_one_scale_after_reparameterisation_equals_one_per_channel_before(model, calibration, context):
    """The quantized LayerNorm output is the channel-wise quantized one, moved and scaled back (their Eq. 8 to 12)."""
    apply(model, calibration, context, "repqvit(reparameterise=false)")
    name = "blocks.2.mlp.fc1:linear[x]"
    channelwise = model.quantizers[name]
    assert channelwise.scale.numel() == 96
    model.clear()
    apply(model, calibration, context, "repqvit(zero_point=fraction)")
    layerwise = model.quantizers[name]
    assert layerwise.scale.numel() == 1
    assert torch.allclose(layerwise.scale, channelwise.scale.mean())
    ratio = channelwise.scale / layerwise.scale
    shift = layerwise.scale * (channelwise.zero_point - layerwise.zero_point)
    values = torch.randn(64, 96) * 3
    moved = values / ratio + shift
    codes = torch.round(values / channelwise.scale + channelwise.zero_point).clamp(0, 15)
    assert ((layerwise(moved) / layerwise.scale + layerwise.zero_point) - codes).abs().max() < 1e-3


def test_a_mean_zero_point_beside_the_codes_becomes_a_code_and_the_network_stays(model, calibration, context):
    expected = model.full_precision(calibration.images)
    apply(model, calibration, context, "repqvit(reparameterise=false)")
    norms = inner_norms(model).values()
    for site in [operation.operand for operations in norms for operation in operations]:
        model.quantizers[site] = replace(model.quantizers[site], zero_point=model.quantizers[site].zero_point - 40)
    reparameterise(model, "rounded", clamped=True)
    zero_points = {model.quantizers[operations[0].operand].zero_point.item() for operations in norms}
    assert zero_points == {0.0}, "the nearest of 0 to 15"
    model.quantizers.clear()
    assert (model(calibration.images) - expected).abs().max() < 1e-3 * expected.abs().max()


def test_fractional_zero_points_are_off_the_grid_unless_rounded(model, calibration, context):
    apply(model, calibration, context)
    fractional = [name for name in off_grid_sites(model) if "linear[x]" in name]
    assert len(fractional) == 12
    model.clear()
    apply(model, calibration, context, "repqvit(zero_point=rounded,softmax=uniform)")
    assert off_grid_sites(model) == []


def test_released_codes_are_rounded_before_their_fractional_zero_point_is_added(model, calibration, context):
    apply(model, calibration, context)
    quantizer = model.quantizers["blocks.2.mlp.fc1:linear[x]"]
    scale, zero = float(quantizer.scale), float(quantizer.zero_point)
    assert zero != round(zero)
    values = torch.randn(300) * 4 * scale
    expected = ((values / scale).round() + zero).clamp(0, 15) - zero
    assert torch.allclose(quantizer(values), expected * scale, atol=1e-6)
    assert len(quantizer(values * 5).unique()) <= 17


def test_quantizers_are_calibrated_on_the_network_quantized_so_far(model, calibration, context):
    """As in the released code, whose first pass quantizes while it calibrates; full precision and ERQ's are settings."""
    images = calibration.images
    for inputs in ("quantized", "activations", "full"):
        model.clear()
        apply(model, calibration, context, f"repqvit(reparameterise=false,inputs={inputs})")
        name, found = "blocks.3.mlp.fc2:linear[x]", {}
        quantizer = model.quantizers[name]
        assert set(model.weights) <= set(model.quantizers)
        if inputs == "activations":
            for weight in model.weights:
                del model.quantizers[weight]
        model.observe(images, lambda site, x, found=found: found.update({site: x.clone()}), quantize=inputs != "full")
        low, high = percentile_search(found[name].reshape(1, -1), 4, (0.999, 0.9999, 0.99999))
        assert torch.allclose(torch.cat([low, high]), torch.cat([quantizer.minimum, quantizer.maximum]))


def test_ranges_beside_zero_keep_their_zero_point_and_constant_channels_move_nothing():
    """A constant channel has no range; a zero point of minus a million would ruin the mean of all channels."""
    low, high = torch.tensor([3.0, -1.0, 0.5, 0.0]), torch.tensor([6.0, 2.0, 0.5, 0.0])
    scale, zero = arithmetic.free_parameters(low, high, 4)
    assert torch.equal(zero, torch.tensor([-15.0, 5.0, 0.0, 0.0]))
    assert torch.allclose(scale[:2], torch.tensor([0.2, 0.2]))


def test_operands_are_quantized_and_residuals_are_not(model, calibration, context):
    apply(model, calibration, context)
    rows = {row["tensors"]: row for row in coverage(model)}
    assert rows["residual sums"]["quantized"] == 0
    assert rows["operands from softmax"]["granularity"] == ["log_sqrt2"]
    assert rows["operands from layer_norm"]["bits"] == [4]
    assert rows["operands from the image"]["bits"] == [8]
    assert rows["weights"]["bits"] == [4]


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_log_sqrt2_against_its_formula(bits):
    values = torch.rand(500) ** 4
    values[0] = 0
    got = log_sqrt2(values, torch.tensor([0.8]), bits)
    for x, y in zip(values.tolist(), got.tolist(), strict=True):
        code = max(round(-2 * math.log2(x / 0.8)), 0) if x > 0 else 10**6
        expected = 0.8 * math.sqrt(2) ** -code if code < 2**bits else 0.0
        assert math.isclose(y, expected, rel_tol=1e-5)
    assert len(got.unique()) <= 2**bits + 1


def test_percentiles_are_chosen_row_by_row_by_squared_error():
    torch.manual_seed(1)
    rows = torch.randn(5, 20_000)
    rows[2, 0] = 100.0  # an outlier that only the smallest percentile cuts off
    low, high = percentile_search(rows, 4, (0.999, 0.9999, 0.99999))
    for row, minimum, maximum in zip(rows, low, high, strict=True):
        errors = []
        for p in (0.999, 0.9999, 0.99999):
            ends = torch.quantile(row, 1 - p).reshape(1), torch.quantile(row, p).reshape(1)
            scale, zero = arithmetic.free_parameters(*ends, 4)
            errors.append(((row - arithmetic.fake_quantize(row, scale, zero, 0, 15)).square().mean().item(), ends))
        best = min(errors, key=lambda pair: pair[0])[1]
        assert torch.allclose(torch.cat(best), torch.stack([minimum, maximum]), atol=1e-4)
    assert high[2] < 10


def test_evolq_goes_on_from_there(model, calibration, context):
    made = apply(model, calibration, context, "repqvit+evolq(passes=1,cycles=1,batch=16)")
    assert made.notes["loss_end"] <= made.notes["loss_start"]


def test_statistics_behind_a_reparameterisation_are_those_that_quantizers_see(model, calibration, context):
    """OMSE and others collect ranges in full precision: of the rewritten LayerNorms, not of the original ones."""
    apply(model, calibration, context)
    name, seen = "blocks.2.mlp.fc1:linear[x]", {}
    for quantize in (False, True):
        quantizers = dict(model.quantizers)
        if quantize:
            model.quantizers.clear()  # rewritten, but in full precision
        model.observe(calibration.images, lambda n, x, q=quantize: seen.update({(n, q): x.clone()}), quantize=quantize)
        model.quantizers.update(quantizers)
    assert torch.allclose(seen[name, False], seen[name, True], atol=1e-4)
    target = model.full_precision(calibration.images)
    before = (model(calibration.images) - target).square().mean()
    check("repqvit+omse(targets=activations)").steps[1].method.apply(model, calibration, context("w4a4"))
    assert (model(calibration.images) - target).square().mean() < 1.5 * before


def test_the_image_can_stay_in_full_precision(model, calibration, context):
    image = next(site.name for site in Placement("operands").among(model) if site.kind is Kind.INPUT)
    apply(model, calibration, context, "repqvit(image=full)")
    assert image not in model.quantizers
    apply(model, calibration, context)
    assert model.quantizers[image].bits == 8
