"""LeViT as Evol-Q's released code quantizes it: each of its 197 quantizers against the rule, computed from timm's modules.

The reference below is written from the released code's list of quantizers and timm's forward pass. It shares nothing with
the harness: queries, keys and values come from hooks, batch norms are folded by hand, scales follow the formulas.
"""

import pytest
import timm
import torch
from timm.layers import set_fused_attn

from harness.data.sets import CalibrationSet
from harness.method.base import Context
from harness.method.stack import check
from harness.quant.format.power_of_two import PowerOfTwo
from harness.quant.format.requantized import Requantized
from harness.quant.network.qmodel import quantizable
from harness.trial.bits import Bits

pytestmark = pytest.mark.slow
NAME, WEIGHT_BITS = "levit_128s", 4


@pytest.fixture(scope="module")
def network():
    set_fused_attn(False)
    torch.manual_seed(0)
    network = timm.create_model(NAME, pretrained=False)
    for module in network.modules():  # a random network whose norms do something
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, 3, 224, 224))
    return network.eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(4, 3, 224, 224, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def quantized(network, images):
    model = quantizable(network, (3, 224, 224), f"{NAME}.fb_dist_in1k")
    (step,) = check("fqvit(levit=release)").steps
    step.method.apply(model, CalibrationSet(images), Context(Bits.parse(f"w{WEIGHT_BITS}a8")))
    return model


@pytest.fixture(scope="module")
def tensors(network, images):
    """Every activation that the released code quantizes, by our site's name."""
    outputs = {}
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: outputs.__setitem__(name, output))
        for name, module in network.named_modules()
        if name
    ]
    with torch.no_grad():
        outputs["logits"] = network(images)
        found = {name: outputs[source] for name, source in plain(network).items()}
        for path, attention in network.named_modules():
            if type(attention).__name__ in ("Attention", "AttentionDownsample"):
                found |= products(path, attention, outputs)
        found["model:mean"] = outputs["stages"].mean(dim=1)
    for hook in hooks:
        hook.remove()
    return {**found, "model:add": outputs["logits"] * 2}  # the mean of both heads: half of their sum carries its scale


def plain(network):
    """Our site and the timm module that yields its tensor."""
    names = {f"stem.conv{i}.linear:conv": f"stem.conv{i}" for i in (1, 2, 3, 4)}
    names |= {f"stem.act{i}:activation": f"stem.act{i}" for i in (1, 2, 3)}
    names |= {"head.linear:linear": "head", "head_dist.linear:linear": "head_dist"}
    for path, _ in network.named_modules():
        if path.endswith(".mlp"):
            owner = path.removesuffix(".mlp")
            names |= {f"{path}.ln1.linear:linear": f"{path}.ln1", f"{path}.act:activation": f"{path}.act"}
            residual = f"{owner}:add" if owner.endswith("downsample") else f"{owner}:add_1"
            names[residual] = owner
        if path.endswith((".attn", ".attn_downsample")):
            names[f"{path}.proj.ln.linear:linear"] = f"{path}.proj"
            if path.endswith("downsample"):
                names[f"{path}.proj.act:activation"] = f"{path}.proj.act"
    return names


def products(path, attention, outputs):
    """Queries, keys, values and what is computed from them, as timm's forward pass does."""
    heads, depth, width = attention.num_heads, attention.key_dim, attention.val_dim
    if hasattr(attention, "qkv"):
        joined = outputs[f"{path}.qkv"]
        q, k, v = joined.unflatten(2, (heads, -1)).split([depth, depth, width], dim=3)
    else:
        k, v = outputs[f"{path}.kv"].unflatten(2, (heads, -1)).split([depth, width], dim=3)
        q = outputs[f"{path}.q"].unflatten(2, (heads, -1))
    q, k, v = q.transpose(1, 2), k.permute(0, 2, 3, 1), v.transpose(1, 2)
    scores = q @ k
    sums = scores * attention.scale + attention.get_attention_biases(torch.device("cpu"))
    attended = sums.softmax(dim=-1) @ v
    found = {":matmul[a]": q, ":matmul[b]": k, ":matmul_1[b]": v, ":matmul": scores, ":add": sums}
    found |= {":softmax": sums.softmax(dim=-1), ":matmul_1": attended}
    found = {path + name: tensor for name, tensor in found.items()}
    if hasattr(attention, "qkv"):
        block = path.removesuffix(".attn")
        read = outputs[before(block)]
        read = read.flatten(2).transpose(1, 2) if read.ndim == 4 else read  # the stem's output is a map
        found[f"{block}:add"] = outputs[path] + read
    return found


def before(block):
    """The module whose output the block reads."""
    stage, _, index = block.rpartition(".blocks.")
    if int(index):
        return f"{stage}.blocks.{int(index) - 1}"
    return "stem" if stage == "stages.0" else f"{stage}.downsample"


def folded_weights(network):
    """Weights by our site's name, batch norms folded in by hand."""
    found = {}
    for path, module in network.named_modules():
        linear, norm = getattr(module, "linear", None), getattr(module, "bn", None)
        if linear is None or norm is None:
            continue
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        if path.startswith("head"):  # the heads normalise what they read
            found[f"{path}.linear.weight"] = linear.weight * gain
        else:
            found[f"{path}.linear.weight"] = linear.weight * gain.reshape(-1, *[1] * (linear.weight.ndim - 1))
    return {name: weight.detach() for name, weight in found.items()}


def affine(low, high, bits):
    scale = ((high - low) / (2**bits - 1)).clamp_min(torch.finfo(torch.float32).eps)
    return scale, (-torch.round(low / scale)).clamp(0, 2**bits - 1)


def factors(tensor, axis, scale, zero_point):
    """Power of two with the least squared error for every channel."""
    rows = tensor.movedim(axis, 0).flatten(1)
    candidates = [scale / 8, scale / 4, scale / 2, scale]
    errors = [
        ((torch.round(rows / s + zero_point).clamp(0, 255) - zero_point) * s - rows).square().mean(1) for s in candidates
    ]
    return torch.stack(candidates)[torch.stack(errors).argmin(0)]


def test_the_released_code_has_197_quantizers_and_so_has_the_rule(quantized, tensors):
    twice = [name for name, quantizer in quantized.quantizers.items() if isinstance(quantizer, Requantized)]
    assert sorted(twice) == ["stages.2.blocks.3:add_1", "stem.conv4.linear:conv"]
    assert len(quantized.weights) == 52
    assert set(quantized.quantizers) == set(quantized.weights) | set(tensors)
    assert len(quantized.quantizers) + len(twice) == 197


def test_activations(quantized, tensors):
    factored = set()
    for name, tensor in tensors.items():
        quantizer = quantized.quantizers[name]
        scale, zero_point = affine(tensor.min(), tensor.max(), 8)
        if isinstance(quantizer, Requantized):
            assert quantizer.second_scale.item() == pytest.approx(scale.item(), rel=1e-4)
            assert quantizer.second_zero_point == zero_point
        if isinstance(quantizer, PowerOfTwo):
            factored.add(name)
            expected = factors(tensor, 1 if name.startswith("stem") else 2, scale, zero_point)
            same = torch.isclose(quantizer.scale, expected, rtol=1e-4)
            assert same.float().mean() > 0.98, name  # two factors may be as good to the last bit
        else:
            assert quantizer.scale.item() == pytest.approx(scale.item(), rel=1e-4), name
        assert (quantizer.zero_point - zero_point).abs() <= 1, name
    residual = {name for name in tensors if name.endswith((":add", ":add_1")) and "attn" not in name} - {"model:add"}
    assert factored == residual | {name for name in tensors if name.startswith("stem")}
    assert len(factored) == 7 + 20


def test_weights(quantized, network):
    weights = folded_weights(network)
    assert set(weights) == set(quantized.weights)
    for name, weight in weights.items():
        rows = weight.flatten(1)
        scale, zero_point = affine(rows.amin(1), rows.amax(1), WEIGHT_BITS)
        assert torch.allclose(quantized.quantizers[name].scale, scale, rtol=1e-4), name
        assert (quantized.quantizers[name].zero_point - zero_point).abs().max() <= 1, name


def test_queries_keys_and_values_are_quantized_apart(quantized, images):
    """With one scale for all three, the narrow ones lose codes; the rule over every operation has one."""
    names = [f"stages.0.blocks.0.attn:{operand}" for operand in ("matmul[a]", "matmul[b]", "matmul_1[b]")]
    assert len({float(quantized.quantizers[name].scale) for name in names}) == 3
    assert "stages.0.blocks.0.attn.qkv.linear:linear" not in quantized.quantizers
    assert torch.isfinite(quantized(images)).all()
    assert not [name for name in quantized.quantizers if "attention_biases" in name or name == "input"]
