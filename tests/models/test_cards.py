"""The networks of the papers: capture against their cards, and against sites, bits and granularity written down here."""

import functools

import pytest
import timm
import torch
from timm.layers import set_fused_attn

from harness.data.sets import CalibrationSet
from harness.engines.scale_search import units_of
from harness.errors import UsageError
from harness.graph.sites import Place
from harness.method.base import Context
from harness.method.stack import check
from harness.methods.fqvit import takes_power_of_two
from harness.models.cards import cards, preprocessing_overrides
from harness.models.loading import load_model
from harness.quant.calibrate.installation import install_weight_ranges, value_sites
from harness.quant.calibrate.placement import Placement
from harness.quant.format.power_of_two import PowerOfTwo
from harness.quant.network.qmodel import quantizable
from harness.trial.bits import Bits
from tests.graph.networks import captured
from tests.lanes import nightly

EMBEDDED = "vit_pico_patch4_28.fashion_mnist"


SMALLEST = ("vit_pico", "deit_tiny", "vit_tiny", "swin_tiny", "levit_128s", "resnet18", "regnety")


def _of_every_size():
    """Every card; the larger networks of a family in the nightly form."""
    for card in cards().values():
        yield pytest.param(card, id=card.name, marks=() if card.name.startswith(SMALLEST) else nightly)


@pytest.mark.parametrize("card", _of_every_size())
def test_capture_finds_what_the_card_says(card):
    model, expected = structure(card.name), card.expected
    sites = value_sites(model, image=expected.image)
    assert sum(segment.is_block for segment in model.segments) == expected.blocks
    assert len(model.weights) == expected.weights
    assert len(sites) == expected.values
    assert sum(map(takes_power_of_two, sites)) == expected.power_of_two
    read = [site.name for site in Placement("deploy").among(model)]
    assert read == [operation.operand for operation in model.weights.values()], "one input for each weight"


# FQ-ViT's rule per block, written down by hand from the forward passes: the number of values that get a quantizer.
VIT_BLOCK = 11  # norm1, qkv, scores, softmax, attention x v, projection, sum, norm2, GELU, fc2, sum
SWIN_BLOCK = 13  # as ViT, and the table of position biases and its sum with the scores
LEVIT_BLOCK = 13  # qkv, scores, biases, sum, softmax, x v, hard-swish, projection, sum, fc1, hard-swish, fc2, sum
LEVIT_DOWN = 13  # kv and q instead of qkv, and no sum around the attention
COUNTS = {
    "deit": lambda depth: 5 + VIT_BLOCK * depth + 2,  # image, patches, joined, position embedding, sum; norm, head
    "vit": lambda depth: 4 + VIT_BLOCK * depth + 2,
    "swin": lambda depth: 3 + SWIN_BLOCK * depth + 3 * 2 + 3,  # image, patches, norm; merging; norm, mean, head
    "levit": lambda depth: 7 + LEVIT_BLOCK * (depth - 2) + 2 * LEVIT_DOWN + 4,  # stem; mean, two heads, their mean
}


@pytest.mark.parametrize("card", cards().values(), ids=lambda card: card.name)
def test_the_counts_of_transformers_follow_from_their_depth(card):
    family = card.name.partition("_")[0]
    if family in COUNTS:
        assert card.expected.values == COUNTS[family](card.expected.blocks)


# Site, bits (w4a8 with 8-bit softmax) and granularity: image to head, one block of each kind. pot: power-of-two factors.
DEIT = """
input 8 tensor | patch_embed.proj.weight 4 channel | patch_embed.proj:conv 8 tensor | model:cat 8 tensor
pos_embed 8 tensor | model:add 8 pot
blocks.0.norm1:layer_norm 8 tensor | blocks.0.attn.qkv.weight 4 channel | blocks.0.attn.qkv:linear 8 tensor
blocks.0.attn:matmul 8 tensor | blocks.0.attn:softmax 8 tensor | blocks.0.attn:matmul_1 8 tensor
blocks.0.attn.proj.weight 4 channel | blocks.0.attn.proj:linear 8 tensor | blocks.0:add 8 pot
blocks.0.norm2:layer_norm 8 tensor | blocks.0.mlp.fc1.weight 4 channel | blocks.0.mlp.act:activation 8 tensor
blocks.0.mlp.fc2.weight 4 channel | blocks.0.mlp.fc2:linear 8 tensor | blocks.0:add_1 8 pot
norm:layer_norm 8 tensor | head.weight 4 channel | head:linear 8 tensor
"""
SWIN = """
input 8 tensor | patch_embed.proj.weight 4 channel | patch_embed.proj:conv 8 tensor | patch_embed.norm:layer_norm 8 tensor
layers.0.blocks.1.norm1:layer_norm 8 tensor | layers.0.blocks.1.attn.qkv.weight 4 channel
layers.0.blocks.1.attn.qkv:linear 8 tensor | layers.0.blocks.1.attn:matmul 8 tensor
layers.0.blocks.1.attn.relative_position_bias_table.* 8 tensor | layers.0.blocks.1.attn:add 8 tensor
layers.0.blocks.1.attn.softmax:softmax 8 tensor | layers.0.blocks.1.attn:matmul_1 8 tensor
layers.0.blocks.1.attn.proj.weight 4 channel | layers.0.blocks.1.attn.proj:linear 8 tensor | layers.0.blocks.1:add 8 pot
layers.0.blocks.1.norm2:layer_norm 8 tensor | layers.0.blocks.1.mlp.fc1.weight 4 channel
layers.0.blocks.1.mlp.act:activation 8 tensor | layers.0.blocks.1.mlp.fc2.weight 4 channel
layers.0.blocks.1.mlp.fc2:linear 8 tensor | layers.0.blocks.1:add_1 8 pot
layers.1.downsample.norm:layer_norm 8 tensor | layers.1.downsample.reduction.weight 4 channel
layers.1.downsample.reduction:linear 8 pot
norm:layer_norm 8 tensor | head.global_pool.pool:mean 8 tensor | head.fc.weight 4 channel | head.fc:linear 8 tensor
"""
LEVIT = """
stem.conv1.linear.weight 4 channel | stem.conv1.linear:conv 8 tensor | stem.act1:activation 8 tensor
stem.conv4.linear.weight 4 channel | stem.conv4.linear:conv 8 tensor
stages.0.blocks.0.attn.qkv.linear.weight 4 channel | stages.0.blocks.0.attn.qkv.linear:linear 8 tensor
stages.0.blocks.0.attn:matmul 8 tensor | stages.0.blocks.0.attn.attention_biases.* 8 tensor
stages.0.blocks.0.attn:add 8 tensor | stages.0.blocks.0.attn:softmax 8 tensor | stages.0.blocks.0.attn:matmul_1 8 tensor
stages.0.blocks.0.attn.proj.act:activation 8 tensor | stages.0.blocks.0.attn.proj.ln.linear.weight 4 channel
stages.0.blocks.0.attn.proj.ln.linear:linear 8 tensor | stages.0.blocks.0:add 8 pot
stages.0.blocks.0.mlp.ln1.linear.weight 4 channel | stages.0.blocks.0.mlp.ln1.linear:linear 8 tensor
stages.0.blocks.0.mlp.act:activation 8 tensor | stages.0.blocks.0.mlp.ln2.linear.weight 4 channel
stages.0.blocks.0.mlp.ln2.linear:linear 8 tensor | stages.0.blocks.0:add_1 8 pot
stages.1.downsample.attn_downsample.kv.linear.weight 4 channel
stages.1.downsample.attn_downsample.kv.linear:linear 8 tensor
stages.1.downsample.attn_downsample.q.ln.linear.weight 4 channel
stages.1.downsample.attn_downsample.q.ln.linear:linear 8 tensor | stages.1.downsample.attn_downsample:matmul 8 tensor
stages.1.downsample.attn_downsample:add 8 tensor | stages.1.downsample.attn_downsample:softmax 8 tensor
stages.1.downsample.attn_downsample:matmul_1 8 tensor | stages.1.downsample.attn_downsample.proj.act:activation 8 tensor
stages.1.downsample.attn_downsample.proj.ln.linear:linear 8 tensor | stages.1.downsample:add 8 pot
head.linear.weight 4 channel | head.linear:linear 8 tensor | head_dist.linear.weight 4 channel
head_dist.linear:linear 8 tensor
"""
RESNET = """
input 8 tensor | conv1.weight 4 channel | act1:activation 8 tensor
layer2.0.conv1.weight 4 channel | layer2.0.act1:activation 8 tensor | layer2.0.conv2.weight 4 channel
layer2.0.conv2:conv 8 tensor | layer2.0.downsample.0.weight 4 channel | layer2.0.downsample.0:conv 8 tensor
layer2.0.act2:activation 8 tensor | fc.weight 4 channel | fc:linear 8 tensor
"""
REGNET = """
s1.b1.conv1.conv.weight 4 channel | s1.b1.conv1.bn.act:activation 8 tensor | s1.b1.conv2.conv.weight 4 channel
s1.b1.conv2.bn.act:activation 8 tensor | s1.b1.se:mean 8 tensor | s1.b1.se.fc1.weight 4 channel
s1.b1.se.act:activation 8 tensor | s1.b1.se.fc2.weight 4 channel | s1.b1.se.fc2:conv 8 tensor
s1.b1.se.gate:activation 8 tensor | s1.b1.se:mul 8 tensor | s1.b1.conv3.conv.weight 4 channel
s1.b1.conv3.conv:conv 8 tensor | s1.b1.act3:activation 8 tensor
"""
TABLES = {"deit_tiny": DEIT, "swin_tiny": SWIN, "levit_128s": LEVIT, "resnet18": RESNET, "regnety_032": REGNET}

WITH_NUMBERS = {next(name for name in cards() if name.startswith(family)) for family in TABLES}


@functools.cache
def structure(name):
    """The network as captured once for all tests; one of which no test needs numbers has none."""
    if name in WITH_NUMBERS:
        return captured(name)[0]
    if name == EMBEDDED:
        network = load_model("embedded").network
    else:
        set_fused_attn(False)
        with torch.device("meta"):
            network = timm.create_model(name, pretrained=False).eval()
    return quantizable(network, network.pretrained_cfg["input_size"], name)


def granularity(quantizer):
    if isinstance(quantizer, PowerOfTwo):
        return "pot"
    return "tensor" if quantizer.axis is None else "channel"


@pytest.mark.parametrize("family", TABLES)
def test_the_sites_of_a_family_are_those_written_down(family):
    model, size = captured(next(name for name in cards() if name.startswith(family)))
    check("fqvit").steps[0].method.apply(model, CalibrationSet(torch.randn(2, *size)), Context(Bits.parse("w4a8")))
    order = list(model.sites)
    before = -1
    for entry in TABLES[family].replace("\n", " | ").split("|"):
        if not entry.strip():
            continue
        pattern, bits, kind = entry.split()
        (site,) = [s for s in order if s == pattern or (pattern.endswith("*") and s.startswith(pattern[:-1]))]
        quantizer = model.quantizers[site]
        assert (quantizer.bits, granularity(quantizer)) == (int(bits), kind), site
        assert order.index(site) > before, f"{site} is out of order"
        before = order.index(site)
    quantized = {site for site in order if site in model.quantizers}
    fused = {site for site in order if model.sites[site].fused}
    operands = {site for site in order if model.sites[site].place is Place.OPERAND}
    left = {site for site in order if site not in quantized | fused | operands}
    assert left <= {"input"}, "everything else is quantized"


UNITS = {
    "deit_tiny": (12, "blocks.0.attn", ("qkv", "proj")),
    "swin_tiny": (12, "layers.0.blocks.0.attn", ("qkv", "proj")),
    "levit_128s": (11, "stages.0.blocks.0.attn", ("qkv.linear", "proj.ln.linear")),
}


@pytest.mark.parametrize("family", UNITS)
def test_evolq_searches_attention_modules(family):
    model = structure(next(name for name in cards() if name.startswith(family)))
    install_weight_ranges(model, 4)
    units = units_of(model, "attention_weights")
    count, first, layers = UNITS[family]
    assert len(units) == count
    assert units[0].sites == tuple(f"{first}.{layer}.weight" for layer in layers)
    if family == "levit_128s":
        down = next(unit for unit in units if "downsample" in unit.name)
        layers = ("kv.linear", "q.ln.linear", "proj.ln.linear")
        assert down.sites == tuple(f"stages.1.downsample.attn_downsample.{layer}.weight" for layer in layers)


def test_evolq_searches_one_convolution_at_a_time_in_a_network_without_attention():
    model = structure("resnet18.tv_in1k")
    install_weight_ranges(model, 4)
    units = units_of(model, "attention_weights")
    assert len(units) == 20
    assert all(len(unit.sites) == 1 and "fc" not in unit.name for unit in units)
    assert len(units_of(model, "block_weights")) == 8


def test_the_papers_preprocessing():
    assert preprocessing_overrides("deit_tiny_patch16_224.fb_in1k", {"recipe": "paper"}) == {"crop_pct": "0.875"}
    assert preprocessing_overrides("swin_tiny_patch4_window7_224.ms_in1k", {"recipe": "paper"}) == {}
    assert preprocessing_overrides("anything", {"crop_pct": "1"}) == {"crop_pct": "1"}
    with pytest.raises(UsageError, match="no preprocessing of a paper is known for 'deit_tinny"):
        preprocessing_overrides("deit_tinny_patch16_224.fb_in1k", {"recipe": "paper"})
    with pytest.raises(UsageError, match="Did you mean paper"):
        preprocessing_overrides("deit_tiny_patch16_224.fb_in1k", {"recipe": "papre"})


def test_anchors_are_accuracies_on_all_of_imagenet():
    anchors = [card.anchor for card in cards().values() if card.anchor is not None]
    assert len(anchors) == len(cards()) - 1
    assert all(anchor.images == 50_000 and 69 < anchor.top1 < 86 for anchor in anchors)
