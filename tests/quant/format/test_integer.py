"""FQ-ViT's integer operators against float64 computations written one token at a time."""

import math

import numpy as np
import torch

from harness.quant.format.integer import integer_layer_norm, log_int_softmax


def brute_integer_layer_norm(x, in_scale, out_scale, weight, bias):
    """One token in float64 and Python integers."""
    smallest = float(in_scale.min())
    integers = [round(float(v) / float(s)) * round(float(s) / smallest) for v, s in zip(x, in_scale, strict=True)]
    channels = len(integers)
    mean = sum(integers) / channels * smallest
    deviation = smallest / channels * math.sqrt(channels * sum(i * i for i in integers) - sum(integers) ** 2)
    result = []
    for integer, gamma, beta in zip(integers, weight.tolist(), bias.tolist(), strict=True):
        gain = smallest / deviation * gamma / out_scale
        shift = 31 if gain == 0 else min(max(7 - math.floor(math.log2(abs(gain))), 0), 31)
        mantissa = min(max(math.floor(abs(gain) * 2**shift), 0), 255)
        offset = round((beta - mean / deviation * gamma) / out_scale * 2**shift)
        result.append(round((math.copysign(1, gain) * mantissa * integer + offset) / 2**shift) * out_scale)
    return np.asarray(result)


def test_integer_layer_norm_equals_float64():
    generator = torch.Generator().manual_seed(0)
    in_scale = 0.02 * 2.0 ** torch.randint(0, 4, (48,), generator=generator)
    codes = torch.randint(-100, 100, (20, 48), generator=generator)
    x = codes * in_scale
    weight, bias = torch.randn(48, generator=generator), torch.randn(48, generator=generator)
    weight[3] = 0
    got = integer_layer_norm(x, in_scale, torch.tensor([0.03]), weight, bias)
    expected = np.stack([brute_integer_layer_norm(row, in_scale, 0.03, weight, bias) for row in x])
    steps = np.abs(got.double().numpy() - expected) / 0.03
    assert (steps < 0.01).mean() > 0.995  # float32 may land on the other side of a tie
    assert steps.max() < 1.01


def test_integer_layer_norm_is_close_to_layer_norm():
    x = torch.randn(50, 192, generator=torch.Generator().manual_seed(1))
    scale = torch.full((192,), 1 / 64)
    x = (x / scale).round() * scale
    weight, bias = torch.rand(192) + 0.5, torch.randn(192)
    got = integer_layer_norm(x, scale, torch.tensor([1 / 32]), weight, bias)
    reference = torch.nn.functional.layer_norm(x, (192,), weight, bias)
    assert (got - reference).abs().max() < 0.1


def test_a_token_of_equal_codes_becomes_the_bias_and_others_stay():
    generator = torch.Generator().manual_seed(2)
    x = torch.randint(-100, 100, (6, 48), generator=generator) * 0.02
    x[2], x[4] = 0.0, 1.5
    scale, out = torch.full((48,), 0.02), torch.tensor([0.03])
    weight, bias = torch.randn(48, generator=generator), torch.randn(48, generator=generator)
    released = integer_layer_norm(x, scale, out, weight, bias, released=True)
    safe = integer_layer_norm(x, scale, out, weight, bias)
    assert not torch.isfinite(released[[2, 4]]).all()
    assert torch.equal(safe[[2, 4]], (torch.round(bias / out) * out).expand(2, -1))
    others = [0, 1, 3, 5]
    assert torch.equal(safe[others], released[others])


def test_scales_are_repeated_for_patch_merging():
    x = torch.randn(4, 32).mul(50).round() * 0.02
    scale = torch.full((8,), 0.02)
    weight, bias = torch.ones(32), torch.zeros(32)
    tiled = integer_layer_norm(x, scale, torch.tensor([0.02]), weight, bias)
    assert torch.equal(tiled, integer_layer_norm(x, scale.repeat(4), torch.tensor([0.02]), weight, bias))


def brute_log_int_softmax(row, scale, bits):
    """One row in float64."""
    units = [float(v) / scale for v in row]
    units = [u - max(units) for u in units]
    ln2 = math.floor(-0.6931 / scale)
    a, b, c = 0.35815147, 0.96963238 / 0.35815147, 1 / 0.35815147
    exponentials = []
    for unit in units:
        unit = max(unit, 30 * ln2)
        quotient = math.floor(unit / ln2)
        rest = unit - ln2 * quotient
        polynomial = rest * (rest + math.floor(b / scale)) + math.floor(c / scale**2)
        exponentials.append(max(math.floor(polynomial * 2.0 ** (30 - quotient)), 0))
    assert a  # the common factor cancels in the ratio
    result = []
    for value in exponentials:
        if value == 0:
            result.append(0.0)
            continue
        ratio = round(sum(exponentials) / value)
        power = math.floor(math.log2(ratio))
        power += ratio - 2**power >= 2 ** (power - 1)
        result.append(0.0 if power >= 2**bits else 2.0 ** -min(power, 2**bits - 1))
    return result


def test_log_int_softmax_equals_float64():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-120, 120, (40, 17), generator=generator) * 0.05
    got = log_int_softmax(x, torch.tensor([0.05]), 4)
    expected = torch.tensor([brute_log_int_softmax(row, 0.05, 4) for row in x.tolist()])
    assert (got == expected).float().mean() > 0.99


def test_log_int_softmax_yields_powers_of_two():
    got = log_int_softmax(torch.randn(30, 50) * 4, torch.tensor([0.1]), 4)
    positive = got[got > 0]
    assert torch.equal(torch.log2(positive), torch.log2(positive).round())
    assert positive.min() >= 2.0**-15


def test_rounding_threshold_is_one_and_a_half():
    """A ratio of 1.5 times a power of two rounds up, 1.42 would not (the release's rule, not round(log2))."""
    equal = log_int_softmax(torch.zeros(1, 3), torch.tensor([0.01]), 4)
    assert torch.equal(equal, torch.full((1, 3), 0.25))  # ratio 3 = 1.5 * 2 -> 2^-2
    five = log_int_softmax(torch.zeros(1, 5), torch.tensor([0.01]), 4)
    assert torch.equal(five, torch.full((1, 5), 0.25))  # ratio 5 = 1.25 * 4 -> 2^-2
