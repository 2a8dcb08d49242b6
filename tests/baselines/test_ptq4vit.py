"""PTQ4ViT and EasyQuant: twin ranges against their definition, and searches that find what brute force finds."""

import pytest
import torch

from harness.baselines.engines.segment_operations import operations_of
from harness.quant.format.twin_gelu import GELU_MINIMUM, TwinGelu, twin_gelu
from harness.quant.format.twin_softmax import TwinSoftmax, summed_twin_softmax, twin_softmax
from harness.quant.format.uniform import Uniform
from tests.baselines.applying import apply


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_twin_ranges_of_the_softmax(bits):
    half = 2 ** (bits - 1)
    scales = torch.tensor([1 / half / 8, 1 / half])
    values = torch.linspace(0, 1, 4001)
    got = twin_softmax(values, scales, bits)
    assert len(got.unique()) <= 2**bits
    small = values < half * scales[0]
    assert ((got - values).abs()[small & (values < (half - 1) * scales[0])] <= scales[0] / 2 + 1e-6).all()
    large = ~small & (values < 1 - scales[1])
    assert ((got - values).abs()[large] <= scales[1] / 2 + 1e-6).all()


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_released_twin_ranges_of_the_softmax_add_both_parts(bits):
    half = 2 ** (bits - 1)
    split = 1 / 16
    scales = torch.tensor([split, 1]) / (half - 1)
    values = torch.linspace(0, 1, 4001)
    got = summed_twin_softmax(values, scales, bits)
    assert len(got.unique()) <= 2**bits
    assert float(got[-1]) == pytest.approx(1 + split), "one is a code; values above the split are larger by it"
    expected = [
        round(min(x, split) / float(scales[0])) * float(scales[0]) + round(max(x, split) * (half - 1)) / (half - 1)
        for x in (0.0, 0.01, 0.3, 0.77)
    ]
    assert torch.allclose(summed_twin_softmax(torch.tensor([0.0, 0.01, 0.3, 0.77]), scales, bits), torch.tensor(expected))


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_twin_ranges_of_gelu_have_a_sign_bit(bits):
    half = 2 ** (bits - 1)
    values = torch.nn.functional.gelu(torch.linspace(-4, 4, 4001))
    scales = torch.tensor([GELU_MINIMUM / half, 4 / half])
    got = twin_gelu(values, scales, bits)
    assert len(got.unique()) == 2**bits, "every code is used: there is one negative code more than positive ones"
    assert (got[values < 0] <= 0).all()
    assert ((got - values).abs()[values < 0] <= scales[0] * 0.501).all(), "down to GELU's minimum"


def test_quantizers_are_those_of_the_paper(model, calibration, context):
    apply(model, calibration, context, "ptq4vit(steps=4,rounds=1,images=4)")
    q = model.quantizers
    assert isinstance(q["blocks.1.attn:matmul_1[a]"], TwinSoftmax)
    for operand in ("matmul[a]", "matmul[b]", "matmul_1[b]"):
        by_head = q[f"blocks.1.attn:{operand}"]
        assert by_head.axis == 1
        assert len(by_head.scale.unique()) > 1, "products of attention have a scale for each head in the released code"
    assert float(q["blocks.1.attn:matmul_1[a]"](torch.ones(1))) >= 1, "one is a code"
    assert isinstance(q["blocks.1.mlp.fc2:linear[x]"], TwinGelu)
    assert len(q["blocks.1.attn.qkv.weight"].scale.unique()) <= 3, "one scale each for q, k and v"
    assert q["blocks.1.mlp.fc1.weight"].scale.numel() == 1
    assert q["patch_embed.proj.weight"].scale.numel() == 96
    assert "patch_embed.proj:conv[x]" not in q, "the image is not quantized"
    assert all(not isinstance(one, Uniform) or one.symmetric for one in q.values())


def test_the_search_takes_the_factor_that_brute_force_takes(model, calibration, context):
    """The first layer that is searched has nothing before it, so its outcome can be recomputed from the definition."""
    apply(model, calibration, context, "easyquant(steps=8,images=8)")
    name = "patch_embed.proj.weight"
    found = model.quantizers[name].scale
    operation = model.weights[name]
    output = operation.function(calibration.images[:8], operation.weight, operation.bias)
    for channel in range(0, 96, 17):
        bound = operation.weight[channel].abs().max()
        best = (-2.0, 0.0)
        for i in range(8):
            scale = bound / 7.5 * (0.5 + 0.7 * i / 8)
            weight = operation.weight.clone()
            weight[channel] = torch.round(weight[channel] / scale).clamp(-8, 7) * scale
            got = operation.function(calibration.images[:8], weight, operation.bias)
            score = torch.cosine_similarity(output[:, channel].flatten(), got[:, channel].flatten(), dim=0).item()
            best = max(best, (score, -i))
        expected = bound / 7.5 * (0.5 + 0.7 * -best[1] / 8)
        assert torch.isclose(found[channel], expected, rtol=1e-4), channel


def test_the_search_lowers_the_weighted_error(model, calibration, context):
    images = calibration.images
    target = model.full_precision(images)
    errors = {}
    for stack in ("ptq4vit(steps=30,rounds=2)", "ptq4vit(low=1,high=1.0001,steps=1,rounds=1)"):
        model.clear()
        apply(model, calibration, context, stack)
        errors[stack] = (model(images) - target).square().mean().item()
    searched, ranges = errors.values()
    assert searched < 0.7 * ranges


@pytest.mark.parametrize("gradient", ["random", "quantized"])
def test_both_gradients_run_and_are_told_apart(gradient, model, calibration, context):
    apply(model, calibration, context, f"ptq4vit(steps=5,rounds=1,gradient={gradient})", "w6a6")
    assert torch.isfinite(model(calibration.images)).all()
    count = sum(len(operations_of(segment.module)) for segment in model.segments)
    assert count == 26 + 12, "every weight and both products of each attention"


def test_the_twin_ranges_of_the_paper_are_a_setting(model, calibration, context):
    apply(model, calibration, context, "ptq4vit(steps=4,rounds=1,images=4,twin=paper)")
    assert float(model.quantizers["blocks.1.attn:matmul_1[a]"](torch.ones(1))) == 0.875
    model.clear()
    apply(model, calibration, context, "ptq4vit(steps=4,rounds=1,images=4,twin=none)")
    assert {type(one) for one in model.quantizers.values()} == {Uniform}
