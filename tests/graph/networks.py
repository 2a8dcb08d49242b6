"""Networks with random weights, built and captured once for all tests: capture takes seconds."""

import functools
from unittest.mock import patch

import timm
import torch
from timm.layers import set_fused_attn
from torch import nn

from harness.graph.capture import capture
from harness.quant.network.qmodel import quantizable


@functools.cache
def network(name):
    """In evaluation mode, with statistics of batch norms as after training, so that folding has something to do."""
    set_fused_attn(False)
    with torch.random.fork_rng():  # the test that comes first must draw the same images as when it comes second
        torch.manual_seed(0)
        return _with_statistics(timm.create_model(name, pretrained=False).eval())


def _with_statistics(built):
    for module in built.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return built


def size_of(name):
    """``(c, h, w)``."""
    return network(name).pretrained_cfg["input_size"]


@functools.cache
def graph(name):
    """The captured graph."""
    return capture(network(name), size_of(name))


@functools.cache
def _model(name):
    with patch("harness.quant.network.qmodel.capture", return_value=graph(name)):
        return quantizable(network(name), size_of(name), name)


def captured(name):
    """Ready for quantizers, without any, and the size of its images."""
    _model(name).clear()
    return _model(name), size_of(name)
