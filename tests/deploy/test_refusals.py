"""What has no integer form is named with its site and with a setting that mends it."""

import re
from dataclasses import replace

import pytest
import torch

from harness.deploy.refusals import check, refusals
from harness.errors import IncompatibleError
from harness.method import stack as stacks
from harness.quant.format.adaptive_log import AdaptiveLog
from harness.quant.format.affine import AffineSpec
from harness.quant.format.log_int_softmax import LogIntSoftmax
from harness.quant.format.log_sqrt2 import LogSqrt2
from harness.quant.format.power_of_two import PowerOfTwo
from harness.quant.format.rounded_first import RoundedFirst
from harness.quant.format.twin_gelu import TwinGelu
from harness.quant.format.twin_softmax import TwinSoftmax
from harness.quant.format.uniform import from_range

ONE = torch.ones(1)
SOFTMAX, GELU, NORM, SUM, HEADS = (
    "blocks.0.attn:softmax",
    "blocks.0.mlp.fc2:linear[x]",
    "blocks.0.attn.qkv:linear[x]",
    "blocks.0:add",
    "blocks.0.attn:matmul[a]",
)
SPEC = AffineSpec(8)
UNIFORM = from_range(SPEC, -ONE, ONE)
HALF = replace(UNIFORM, zero_point=torch.tensor([3.5]))
CHANNELS = from_range(AffineSpec(8, axis=2), -torch.rand(96) - 0.1, torch.rand(96) + 0.1)

CASES = {
    "lis": (SOFTMAX, LogIntSoftmax.on(torch.device("cpu"), 4), "Log-Int-Softmax", "fqvit(lis=false)"),
    "log_sqrt2": (SOFTMAX, LogSqrt2(4, ONE, ONE, ONE), "root of two", "repqvit(softmax=uniform)"),
    "adaptive": (GELU, AdaptiveLog(4, torch.ones(4), ONE, ONE), "fitted base", "adalog(logarithms=false)"),
    "twin softmax": (SOFTMAX, TwinSoftmax(8, torch.ones(2), ONE, ONE), "twin ranges", "ptq4vit(twin=none)"),
    "twin gelu": (GELU, TwinGelu(8, torch.ones(2), ONE, ONE), "twin ranges", "ptq4vit(twin=none)"),
    "fraction": (NORM, HALF, "fractional zero points", "repqvit(zero_point=rounded)"),
    "rounded first": (NORM, RoundedFirst(**vars(HALF)), "fractional zero points", "repqvit(zero_point=rounded)"),
    "channels": (NORM, CHANNELS, "per channel of an activation", "repqvit(reparameterise=true)"),
    "uneven": (SUM, PowerOfTwo(**{**vars(UNIFORM), "scale": torch.rand(96) + 0.1, "axis": 2}), "powers of two", "fqvit"),
}


@pytest.mark.parametrize(("site", "quantizer", "reason", "fix"), CASES.values(), ids=CASES)
def test_refused_by_site_with_what_mends_it(model, site, quantizer, reason, fix):
    model.quantizers["input"] = UNIFORM
    model.quantizers[site] = quantizer
    (found,) = refusals(model, ["repqvit"], float_layernorm=False)
    assert found.site == site
    assert reason in found.reason
    assert fix in found.fix
    with pytest.raises(IncompatibleError, match=re.escape(site)):
        check([found], "0123")


@pytest.mark.parametrize("fix", sorted({fix for *_, fix in CASES.values()} | {"adalog(reparameterise=always)"}))
def test_what_mends_it_is_a_stack(fix):
    assert stacks.check(fix).steps


def test_scales_per_head_of_a_product_are_no_obstacle(model):
    heads = from_range(AffineSpec(8, signed=True, symmetric=True, axis=1), -torch.ones(3), torch.tensor([1.0, 2.0, 3.0]))
    model.quantizers[HEADS] = heads
    assert refusals(model, [], float_layernorm=False) == []


def test_weights_between_codes_are_refused(model):
    name = "blocks.0.mlp.fc1.weight"
    weight = model.weights[name].weight
    bound = weight.abs().amax(1)
    spec = AffineSpec(4, signed=True, symmetric=True, axis=0)
    model.quantizers[name] = from_range(spec, -bound, bound)
    assert refusals(model, [], float_layernorm=False) == []
    model.quantizers[name] = replace(model.quantizers[name], zero_point=torch.full_like(bound, 99.0), symmetric=False)
    (found,) = refusals(model, [], float_layernorm=False)
    assert "zero points beside the codes" in found.reason


def test_integer_layer_norm_needs_a_word(model):
    model.integer_norms.add(next(iter(model.layer_norms)))
    (found,) = refusals(model, [], float_layernorm=False)
    assert "fqvit(integer_layernorm=off)" in found.fix
    assert "--float-layernorm" in found.fix
    assert refusals(model, [], float_layernorm=True) == []
