"""PTQ-for-ViT: its loss by brute force, what its searches find, and what its bias correction restores."""

import itertools

import pytest
import torch

from harness.baselines.engines import layer_search
from harness.baselines.engines.output_scores import RankedRows, Ranking, pearson
from harness.quant.format.uniform import Uniform
from tests.baselines.applying import apply

HEAD = 32  # channels of a head in the embedded network


def hinge(want, got, margin):
    """Eq. 13 for one image, pair by pair."""
    total = 0.0
    for full, quantized in zip(want.flatten(0, -2).tolist(), got.flatten(0, -2).tolist(), strict=True):
        for i, j in itertools.combinations(range(len(full)), 2):
            sign = (full[i] > full[j]) - (full[i] < full[j])
            total += max(margin - (quantized[i] - quantized[j]) * sign, 0.0)
    return total


@pytest.mark.parametrize("factor", [1.0, 32**-0.5])
@pytest.mark.parametrize("decimals", [None, 1, 0], ids=["distinct", "some-ties", "many-ties"])
def test_the_ranking_loss_is_its_formula_pair_by_pair(factor, decimals):
    """The margin is one of raw products; the network has them scaled."""
    generator = torch.Generator().manual_seed(7)
    want = torch.randn(3, 2, 5, 9, generator=generator)
    want = want if decimals is None else want.round(decimals=decimals)
    got = want + 0.3 * torch.randn(want.shape, generator=generator)
    expected = 0.1 * sum(hinge(a, b, 0.2) for a, b in zip(want, got, strict=True)) / 3
    found = RankedRows(want * factor, factor, Ranking(0.1, 0.2, "sum")).loss(got * factor)
    assert found == pytest.approx(expected, rel=1e-5)
    mean = RankedRows(want * factor, factor, Ranking(0.1, 0.2, "mean")).loss(got * factor)
    assert mean == pytest.approx(expected / (2 * 5 * 36), rel=1e-5)


def test_scores_of_one_column_have_no_pairs():
    scores = torch.ones(2, 1, 3, 1)
    assert RankedRows(scores, 1.0, Ranking(0.1, 0.2, "sum")).loss(scores) == 0.0


def test_correlation_is_that_of_its_definition_and_zero_for_a_constant():
    generator = torch.Generator().manual_seed(1)
    want, got = torch.randn(4, 50, generator=generator), torch.randn(4, 50, generator=generator)
    expected = torch.stack([torch.corrcoef(torch.stack(pair).double())[0, 1] for pair in zip(want, got, strict=True)])
    assert torch.allclose(pearson(want, got), expected)
    assert pearson(want, torch.ones(4, 50)).eq(0).all()
    assert torch.allclose(pearson(want, 3 * want + 100), torch.ones(4, dtype=torch.float64))


def test_one_signed_scale_for_a_layer_and_three_for_queries_keys_and_values(model, calibration, context):
    apply(model, calibration, context, "rankaware(steps=6,rounds=1,images=4)", "w4a4")
    q = model.quantizers
    assert {type(one) for one in q.values()} == {Uniform}
    assert all(one.symmetric for one in q.values())
    assert q["patch_embed.proj.weight"].scale.numel() == 1
    assert len(q["blocks.1.attn.qkv.weight"].scale.unique()) <= 3
    assert q["blocks.1.attn:matmul[a]"].axis is None, "heads share a scale"
    assert q["patch_embed.proj:conv[x]"].bits == 8, "the image is what a linear operation reads"
    read = {name for segment in model.segments for cost in segment.costs for sites in cost.operands for name in sites}
    assert set(q) <= read


def test_the_search_takes_the_factor_that_brute_force_takes(model, calibration, context):
    """The patch embedding: first over weights with the image at its starting scale."""
    stack = "rankaware(steps=8,rounds=1,images=6,image=full,bias=false)"
    apply(model, calibration, context, stack, "w4a4")
    images, operation = calibration.images[:6], model.weights["patch_embed.proj.weight"]
    output = operation.function(images, operation.weight, operation.bias)
    bound = operation.weight.abs().max()
    scales = [bound / 7.5 * (0.5 + 0.7 * i / 8) for i in range(8)]
    scores = []
    for scale in scales:
        weight = torch.round(operation.weight / scale).clamp(-8, 7) * scale
        got = operation.function(images, weight, operation.bias)
        pairs = [torch.stack([a.flatten(), b.flatten()]).double() for a, b in zip(output, got, strict=True)]
        scores.append(torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs]).mean())
    expected = scales[int(torch.stack(scores).argmax())]
    assert torch.isclose(model.quantizers["patch_embed.proj.weight"].scale[0], expected, rtol=1e-5)


def scores_of(model, images, quantizers):
    """Queries times keys of the first block, from full-precision operands, before they are scaled."""
    seen = {}
    model.observe(images, lambda name, x: seen.setdefault(name, x.clone()), quantize=False)
    left, right = (seen[f"blocks.0.attn:matmul[{side}]"] for side in "ab")
    if quantizers:
        left, right = (quantizers[f"blocks.0.attn:matmul[{side}]"](x) for side, x in (("a", left), ("b", right)))
    return left @ right / HEAD**-0.5


def test_the_ranking_loss_chooses_other_scales_and_a_better_order(model, calibration, context):
    images, losses = calibration.images[:4], {}
    for ranking in ("sum", "none"):
        model.clear()
        stack = f"rankaware(steps=30,rounds=3,images=4,ranking={ranking},bias=false)"
        apply(model, calibration, context, stack, "w4a3")
        quantizers = dict(model.quantizers)
        model.clear()
        full, got = scores_of(model, images, {}), scores_of(model, images, quantizers)
        losses[ranking] = sum(hinge(a, b, 0.2) for a, b in zip(full, got, strict=True))
    assert losses["sum"] < losses["none"]


def test_biases_give_every_channel_its_mean_back(model, calibration, context):
    """On the calibration images, for the operation that was searched on them."""
    images = calibration.images[:4]
    for bias in ("true", "false"):
        model.clear()
        apply(model, calibration, context, f"rankaware(steps=6,rounds=2,images=4,bias={bias})", "w3a4")
        operation, image = model.weights["patch_embed.proj.weight"], model.quantizers["patch_embed.proj:conv[x]"]
        output = operation.function(images, operation.weight, operation.bias)
        got = operation.function(image(images), operation.quantized_weight(), operation.shifted_bias())
        error = (got - output).mean(dim=(0, 2, 3)).abs().max()
        assert (error < 1e-5) == (bias == "true")


def test_a_round_that_changes_nothing_is_the_last(model, calibration, context, monkeypatch):
    calls, improve = [], layer_search._Searcher._improve

    def counted(self, module, seen, name):
        calls.append(name)
        improve(self, module, seen, name)

    monkeypatch.setattr(layer_search._Searcher, "_improve", counted)
    apply(model, calibration, context, "rankaware(steps=4,rounds=20,images=2)", "w4a4")
    ended, scales = len(calls), {name: one.scale for name, one in model.quantizers.items()}
    assert ended < 20 * len(scales)
    model.clear()
    apply(model, calibration, context, "rankaware(steps=4,rounds=40,images=2)", "w4a4")
    assert all(torch.equal(scales[name], one.scale) for name, one in model.quantizers.items())
