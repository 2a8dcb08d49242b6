"""Errors by token, against the same from hooks of timm's own network."""

import pytest
import timm
import torch

from benchmarks.class_token import errors
from harness.quant.network.qmodel import quantizable


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32, patch_size=8, num_classes=5).eval()


def test_nothing_is_wrong_without_quantizers(network):
    found = errors(quantizable(network, (3, 32, 32)), torch.randn(3, 3, 32, 32))
    assert found["class_token"] == found["other_tokens"] == 0


def test_squares_are_those_behind_the_last_block(network):
    images, seen = torch.randn(3, 3, 32, 32), {}
    hook = network.blocks[-1].register_forward_hook(lambda module, inputs, output: seen.update(x=output.detach()))
    network(images)
    hook.remove()
    found = errors(quantizable(network, (3, 32, 32)), images)
    for name, tokens in (("class_channel", seen["x"][:, :1]), ("other_channel", seen["x"][:, 1:])):
        channels = tokens.square().sum(dim=(0, 1))
        assert found[name] == pytest.approx(float(channels.max() / channels.sum()), abs=1e-3)
