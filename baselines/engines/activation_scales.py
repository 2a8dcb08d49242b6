"""Scales of activations that are learned by gradients."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from harness.graph.sites import Place
from harness.quant.format.base import NumberFormat, required
from harness.quant.format.uniform import Uniform
from harness.quant.network.qmodel import QuantizedModel


def activation_quantizers(model: QuantizedModel) -> dict[str, NumberFormat]:
    """The quantizers of everything that is no parameter, by site."""
    quantizers = model.quantizers.items()
    return {name: one for name, one in quantizers if model.sites[name].place is not Place.PARAMETER}


def has_learnable_scale(model: QuantizedModel, name: str) -> bool:
    """Whether a site holds a quantizer of something other than a parameter, with scales that can follow gradients."""
    quantizer = model.quantizers.get(name)
    place = model.sites[name].place
    return quantizer is not None and place is not Place.PARAMETER and quantizer.learnable_scales.numel() > 0


def install_scales(model: QuantizedModel, scales: dict[str, Tensor]) -> None:
    """Put learnable scales into the quantizers of these sites; zero points stay. Gradients flow if they ask for them."""
    for name, scale in scales.items():
        model.quantizers[name] = model.quantizers[name].with_learned_scales(scale)


@torch.no_grad()
def scale_tokens(model: QuantizedModel, image: Tensor) -> int:
    """Give what linear operations read one scale for each token instead of one for all; values stay as they are.

    Only where the operand has the form ``(images, tokens, channels)`` and one scale.

    Args:
        model: A calibrated model.
        image: One image ``(1, c, h, w)``, which tells how many tokens there are.

    Returns:
        How many operands were changed.
    """
    linear = {one.operand for one in model.weights.values() if one.weight.ndim == 2}
    tokens: dict[str, int] = {}

    def watch(name: str, x: Tensor) -> None:
        quantizer = model.quantizers.get(name)
        if name in linear and x.ndim == 3 and isinstance(quantizer, Uniform) and quantizer.axis is None:
            tokens[name] = x.shape[1]

    model.observe(image, watch)
    for name, count in tokens.items():
        one = required(Uniform, model.quantizers[name], name, "fimaq")
        scale, zero_point, low, high = (
            part.expand(count).clone() for part in (one.scale, one.zero_point, one.minimum, one.maximum)
        )
        model.quantizers[name] = replace(one, scale=scale, zero_point=zero_point, minimum=low, maximum=high, axis=1)
    return len(tokens)
