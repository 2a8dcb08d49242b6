"""What schemes of operands share: quantize what linear operations, convolutions and matrix products read."""

from __future__ import annotations

from harness.bits import Bits
from harness.graph.operations import Kind
from harness.graph.sites import Place, Site
from harness.quant.qmodel import QuantizedModel

IMAGE_BITS = 8


def operand_sites(model: QuantizedModel) -> list[Site]:
    """Everything that a linear operation, a convolution or a matrix product of computed tensors reads."""
    return [site for site in model.sites.values() if site.place is Place.OPERAND]


def operand_bits(site: Site, bits: Bits, image: int = IMAGE_BITS) -> int:
    """Width of an operand: attention probabilities and the image have their own; 32 where the trial has 32."""
    if site.kind is Kind.SOFTMAX:
        return bits.softmax
    if site.kind is Kind.INPUT and bits.activation < image:
        return image
    return bits.activation


def is_classifier(model: QuantizedModel, site: Site) -> bool:
    """Whether the operand is read by the last segment's weights: what comes behind the last block."""
    return model.segment_of(site.name) == len(model.segments) - 1
