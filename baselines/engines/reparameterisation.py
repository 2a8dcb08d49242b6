"""RepQ-ViT's scale reparameterisation: channel-wise quantized LayerNorm outputs turn into layer-wise quantized ones."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from harness.quant.format.affine import Affine, AffineSpec
from harness.quant.format.base import NumberFormat, required
from harness.quant.format.rounded_first import RoundedFirst
from harness.quant.format.uniform import Uniform
from harness.quant.network.operands import inner_norms
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel

FRACTIONS = (0.999, 0.9999, 0.99999)
ZeroPoint = Literal["released", "fraction", "rounded"]


@torch.no_grad()
def reparameterise(model: QuantizedModel, zero_point: ZeroPoint, *, clamped: bool = False) -> list[list[WeightedOperation]]:
    """Rewrite every inner LayerNorm whose readers have a channel-wise quantizer, and the weights after it (Eq. 8 to 12).

    With ``r = s / mean(s)`` and ``d = mean(s) (z - mean(z))`` the norm's weight becomes ``g / r``, its bias ``b / r + d``,
    the weights after it ``W r`` and their bias loses ``W r d``: the network computes what it did. The quantizers of the
    rewritten weights are for the caller to renew.

    Args:
        model: A model with one channel-wise quantizer at all operands that read a norm.
        zero_point: The mean zero point rounded, or as it is, a fraction: ``released`` codes are rounded before it is added,
            ``fraction`` after that, so that they are those of the channel-wise quantizer (the paper's equality).
        clamped: The zero point is a code: integer kernels have no other. What the network computes stays, whatever it is.

    Returns:
        Per norm the operations that read it.
    """
    norms = {norm: found for norm, found in inner_norms(model).items() if _first_quantized(model, found)}
    for norm, operations in norms.items():
        operand = _first_quantized(model, operations)  # all readers saw the same values
        channelwise = required(Affine, model.quantizers[operand], operand, "reparameterisation")
        scale, zero = channelwise.scale.mean().reshape(1), channelwise.zero_point.mean().reshape(1)
        if zero_point == "rounded":
            zero = zero.round()
        if clamped:
            zero = zero.clamp(*AffineSpec(channelwise.bits).code_range)
        ratio = channelwise.scale / scale
        shift = scale * (channelwise.zero_point - zero)
        gain, offset = model.norm_parameters(norm)
        model.replaced_norms[norm] = gain / ratio, offset / ratio + shift
        for operation in operations:
            weight = operation.present_weight * ratio
            model.replaced_weights[operation.site.name] = weight
            model.transform_bias(operation.node, -weight @ shift)
            if operation.operand in model.quantizers:
                width = model.quantizers[operation.operand].bits
                model.quantizers[operation.operand] = _layerwise(channelwise.bits, width, scale, zero, zero_point)
    return list(norms.values())


def _first_quantized(model: QuantizedModel, operations: list[WeightedOperation]) -> str:
    """The first operand with a quantizer; empty where all readers of a norm stay in full precision."""
    return next((one.operand for one in operations if one.operand in model.quantizers), "")


def _layerwise(bits: int, width: int, scale: Tensor, zero: Tensor, zero_point: ZeroPoint) -> NumberFormat:
    """The one scale of a reader: that of ``bits``, or for another width as many codes in the same range."""
    if width != bits:
        ratio = (2**width - 1) / (2**bits - 1)
        scale, zero = scale / ratio, zero * ratio
        zero = zero.round() if zero_point == "rounded" else zero
    spec = AffineSpec(width, fractional=zero_point != "rounded")
    kind = RoundedFirst if zero_point == "released" else Uniform
    low, high = spec.code_range
    return kind.of(spec, scale, zero, (low - zero) * scale, (high - zero) * scale)
