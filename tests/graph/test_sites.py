"""The rule's sites on the embedded transformer against a written expectation (FQ-ViT's list, METHODS section 2)."""

from harness.graph.sites import Place
from harness.methods.fqvit import takes_power_of_two
from harness.quant.calibrate.installation import value_sites

BLOCK = [
    "blocks.0.norm1:layer_norm",
    "blocks.0.attn.qkv.weight",
    "blocks.0.attn.qkv:linear",
    "blocks.0.attn:matmul",
    "blocks.0.attn:softmax",
    "blocks.0.attn:matmul_1",
    "blocks.0.attn.proj.weight",
    "blocks.0.attn.proj:linear",
    "blocks.0:add",
    "blocks.0.norm2:layer_norm",
    "blocks.0.mlp.fc1.weight",
    "blocks.0.mlp.act:activation",
    "blocks.0.mlp.fc2.weight",
    "blocks.0.mlp.fc2:linear",
    "blocks.0:add_1",
]
STEM = ["input", "patch_embed.proj.weight", "patch_embed.proj:conv", "model:cat", "pos_embed", "model:add"]


def test_sites_of_a_transformer(model):
    sites = [name for name, site in model.sites.items() if not site.fused and site.place is not Place.OPERAND]
    assert sites[: len(STEM)] == STEM
    assert sites[len(STEM) : len(STEM) + len(BLOCK)] == BLOCK
    assert sites[-3:] == ["norm:layer_norm", "head.weight", "head:linear"]
    assert len(sites) == 6 + 6 * 15 + 3


def test_the_final_norm_is_quantized_where_only_the_class_token_is_left(model):
    assert model.sites["norm:layer_norm"].elements == 96


def test_power_of_two_sites_are_the_residual_stream(model):
    names = [site.name for site in value_sites(model, image=True) if takes_power_of_two(site)]
    assert names == ["model:add", *(f"blocks.{i}:{add}" for i in range(6) for add in ("add", "add_1"))]


def test_attention_modules(model):
    inside = [n for n, s in model.sites.items() if s.attention == "blocks.2.attn" and s.place is not Place.OPERAND]
    assert inside[0] == "blocks.2.attn.qkv.weight"
    assert inside[-1] == "blocks.2.attn.proj:linear"
    assert not model.sites["blocks.2.mlp.fc1.weight"].attention


def test_chain_shares_add_up(model, calibration):
    before = model.image_forwards
    x = model.run(calibration.images, 0, 3)
    model.run(x, 3)
    assert abs(model.image_forwards - before - len(calibration)) < 1e-6


def test_operands_are_what_linear_operations_and_products_read(model):
    operands = {n: s for n, s in model.sites.items() if s.place is Place.OPERAND}
    inside = {name: site.kind.value for name, site in operands.items() if name.startswith("blocks.0.")}
    assert inside == {
        "blocks.0.attn.qkv:linear[x]": "layer_norm",
        "blocks.0.attn:matmul[a]": "linear",
        "blocks.0.attn:matmul[b]": "linear",
        "blocks.0.attn:matmul_1[a]": "softmax",
        "blocks.0.attn:matmul_1[b]": "linear",
        "blocks.0.attn.proj:linear[x]": "matmul",
        "blocks.0.mlp.fc1:linear[x]": "layer_norm",
        "blocks.0.mlp.fc2:linear[x]": "activation",
    }
    assert operands["patch_embed.proj:conv[x]"].kind.value == "input"
    assert operands["head:linear[x]"].kind.value == "layer_norm"
    assert len(operands) == 2 + 6 * 8
    assert operands["blocks.0.attn.qkv:linear[x]"].channels == 96
