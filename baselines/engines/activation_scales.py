"""Scales of activations that are learned by gradients."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from harness.graph.sites import Place
from harness.quant.format.uniform import Uniform
from harness.quant.network.qmodel import QuantizedModel


def has_learnable_scale(model: QuantizedModel, name: str) -> bool:
    """Whether a site holds a uniform quantizer of something other than a parameter: its scale can follow gradients."""
    return isinstance(model.quantizers.get(name), Uniform) and model.sites[name].place is not Place.PARAMETER


def install_scales(model: QuantizedModel, scales: dict[str, Tensor]) -> None:
    """Put scales into the quantizers of these sites; zero points stay. Gradients flow if they ask for them."""
    for name, scale in scales.items():
        model.quantizers[name] = replace(model.quantizers[name], scale=scale)
