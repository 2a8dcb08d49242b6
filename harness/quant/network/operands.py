"""What is read by linear operations, convolutions and matrix products: widths, norms before them, values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

from harness.graph.operations import Kind
from harness.graph.sites import Place, Site
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import Bits

IMAGE_BITS = 8


def operand_bits(site: Site, bits: Bits, image: int = IMAGE_BITS) -> int:
    """Width of an operand: attention probabilities and the image have their own; 32 where the trial has 32.

    The image has at least ``image`` bits, unless a rule of the trial names it.
    """
    own = bits.at(site)
    if site.kind is Kind.SOFTMAX:
        return own.softmax
    if site.kind is Kind.INPUT and own.activation < image and not bits.names(site):
        return image
    return own.activation


def is_classifier(model: QuantizedModel, site: Site) -> bool:
    """Whether the operand is read by the last segment's weights: what comes after the last block."""
    return model.segment_of(site.name) == len(model.segments) - 1


def inner_norms(model: QuantizedModel) -> dict[str, list[WeightedOperation]]:
    """Layer norms, by node name, with the linear operations that read them: those that nothing else reads.

    The classifier's norm is left out. What scales such a norm's channels can be undone in the weights after it: the norm
    has a weight and a bias, and its readers sum over its channels (a linear operation that mixes tokens does not).
    """
    mixed = {site.source for site in model.sites.values() if site.place is Place.OPERAND and not site.along_channels}
    only_linear = {
        site.source
        for site in model.sites.values()
        if site.place is Place.VALUE and site.kind is Kind.LAYER_NORM and site.feeds == frozenset({Kind.LINEAR})
        if site.source not in mixed and model.chain.norms[site.source].affine
    }
    found: dict[str, list[WeightedOperation]] = {}
    for operation in model.weights.values():
        site = model.sites[operation.operand]
        if site.source in only_linear and not is_classifier(model, site):
            found.setdefault(site.source, []).append(operation)
    return found


def reads(
    model: QuantizedModel, operation: WeightedOperation, inputs: Iterable[Tensor], index: int, *, quantize: bool
) -> Iterator[Tensor]:
    """What an operation reads, batch by batch.

    Args:
        model: The model.
        operation: One of segment ``index``.
        inputs: Inputs of that segment.
        index: The segment.
        quantize: In the quantized network, after the operand's quantizer; otherwise in full precision.
    """
    quantizer = model.quantizers.get(operation.operand) if quantize else None
    for batch in inputs:
        found: list[Tensor] = []
        model.observe(
            batch,
            lambda name, x, found=found: found.append(x) if name == operation.operand else None,  # type: ignore[misc]
            quantize=quantize,
            start=index,
            stop=index + 1,
        )
        yield from (x if quantizer is None else quantizer(x) for x in found)
