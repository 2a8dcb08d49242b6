"""Capture, folding and quantization of every family, with random weights."""

import pytest
import timm
import torch
from timm.layers import set_fused_attn
from torch import nn

from harness.data.sets import CalibrationSet
from harness.errors import CaptureError
from harness.graph.capture import capture
from harness.graph.fold import fold_batch_norms
from harness.method.base import Context
from harness.method.stack import check
from harness.models.cards import cards
from harness.quant.network.qmodel import quantizable
from harness.trial.bits import Bits
from tests.graph import networks
from tests.lanes import NIGHTLY

FAMILIES = {
    "vit_tiny_patch16_224": 14,
    "deit_tiny_distilled_patch16_224": 14,
    "swin_tiny_patch4_window7_224.ms_in1k": 17,
    "levit_128s.fb_dist_in1k": 13,
    "resnet18.tv_in1k": 10,
    "regnety_032.tv2_in1k": 23,
}
SEARCHED = ("vit_tiny", "levit")  # attention as one module, and cut into parts; the others in the nightly form


def test_cards_claim_what_is_tested_here():
    claimed = {card.name for card in cards().values() if card.tested == "whole network with random weights"}
    assert claimed <= set(FAMILIES)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_capture_folding_and_quantization(name):
    images = torch.randn(3, *networks.size_of(name))
    with torch.no_grad():
        expected = networks.network(name)(images)
        (logits,) = networks.graph(name).module()(images)
    assert torch.equal(logits, expected), "the captured graph must equal the model bit for bit"
    folded = fold_batch_norms(networks.graph(name))
    assert not [node for node in folded.graph.nodes if "batch_norm" in str(node.target)]

    model, _ = networks.captured(name)
    assert len(model.segments) == FAMILIES[name]
    for result in (model(images), model.full_precision(images)):
        assert (result - expected).abs().max() <= 1e-4 * expected.abs().max()
    searched = name.startswith(SEARCHED) or (NIGHTLY and not name.startswith("regnety"))  # half a minute there
    search = "+evolq(passes=1,cycles=1,batch=2)" if searched else ""
    for step in check(f"fqvit+omse(targets=weights)+biascorr{search}").steps:
        step.method.apply(model, CalibrationSet(images), Context(Bits.parse("w4a8")))
    quantized = model(images)
    assert torch.isfinite(quantized).all()
    assert not torch.equal(quantized, model.full_precision(images))
    assert all(site in model.quantizers for site in model.weights), "every weight is quantized"


class Checking(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("offset", torch.ones(4, dtype=torch.float64))

    def forward(self, x):
        return self.layer(x.flatten(1)) + self.offset.to(torch.float32)


def test_checks_of_types_in_a_graph_compute_nothing():
    captured = capture(Checking(), (1, 2, 2))
    assert not [node for node in captured.graph.nodes if "_assert" in str(node.target)]
    images = torch.randn(3, 1, 2, 2)
    assert torch.isfinite(captured.module()(images)[0]).all()


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        x = x.mean((2, 3)).repeat(1, 4)
        return self.layer(x) if x.sum() > 0 else x


def test_a_network_that_cannot_be_traced_is_refused_in_one_line():
    with pytest.raises(CaptureError, match=r"torch\.export cannot capture Branching") as caught:
        quantizable(Branching(), (1, 8, 8))
    assert "\n" not in str(caught.value)


def test_attention_that_was_built_fused_is_opened_and_left_as_it_was():
    set_fused_attn(True)
    try:
        network = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=5).eval()
    finally:
        set_fused_attn(False)
    assert network.blocks[0].attn.fused_attn
    model = quantizable(network, (3, 32, 32))
    assert "blocks.0.attn:softmax" in model.sites
    assert network.blocks[0].attn.fused_attn
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(model.full_precision(images), network(images), atol=1e-4)


class Fused(nn.Module):
    def forward(self, x):
        return nn.functional.scaled_dot_product_attention(x, x, x).flatten(1)


def test_fused_attention_of_others_is_refused_with_what_to_do():
    with pytest.raises(CaptureError, match=r"scaled_dot_product_attention.*write softmax and both matrix products out"):
        quantizable(Fused(), (1, 2, 4))


class InPlace(nn.Module):
    """The value before an in-place operation must not be confused with the one after it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x):
        x = self.first(x)
        y = x.relu_()
        return (self.second(x) + y[:, :, 1:-1, 1:-1]).mean((2, 3))


def test_in_place_operations_are_followed():
    network, images = InPlace().eval(), torch.randn(2, 1, 9, 9)
    with torch.no_grad():
        expected = network(images.clone())
    assert torch.allclose(quantizable(network, (1, 9, 9))(images), expected, atol=1e-6)


class ForwardFold(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 6, 3), nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.norm(self.conv(x).relu().mean((2, 3))))


def test_batch_norm_before_a_linear_layer_folds_forward():
    network = ForwardFold().eval()
    network.norm.running_mean.uniform_(-1, 1)
    network.norm.running_var.uniform_(0.5, 2)
    images = torch.randn(3, 1, 6, 6)
    model = quantizable(network, (1, 6, 6))
    with torch.no_grad():
        assert torch.allclose(model(images), network(images), atol=1e-6)
    assert "head.weight" in model.weights
