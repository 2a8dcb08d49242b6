"""What a quantized model really is: coverage by tensor class, size, bit-operations, integer-grid check."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from harness.graph.operations import Kind
from harness.graph.sites import Place, Site
from harness.quant.format.base import NumberFormat
from harness.quant.format.uniform import Uniform
from harness.quant.network.external import ExternalSite
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.record import CoverageRow

FULL_PRECISION_BITS = 32
SCALE_BYTES, ZERO_POINT_BYTES = 4, 1
HALF_BYTES = 2  # linear layers beside blocks are kept in half precision


def coverage(model: QuantizedModel) -> list[CoverageRow]:
    """Which tensor classes are quantized at how many bits, in execution order of their first site.

    Sites directly before an activation that hardware fuses (GELU, ReLU), and operands, count only when quantized.
    """
    rows: dict[str, CoverageRow] = {}
    final = _final_site(model)
    described = _described(model)
    for name, site in model.sites.items():
        quantizer = described.get(name)
        if quantizer is None and (site.fused or site.place is Place.OPERAND):
            continue
        label = _tensor_class(site, final)
        row = rows.setdefault(label, {"tensors": label, "quantized": 0, "total": 0, "bits": [], "granularity": []})
        row["total"] += 1
        if quantizer is not None:
            row["quantized"] += 1
            row["bits"] = sorted({*row["bits"], quantizer.bits})
            row["granularity"] = sorted({*row["granularity"], quantizer.granularity})
    return list(rows.values())


def _described(model: QuantizedModel) -> Mapping[str, ExternalSite]:
    """What is quantized how, by ourselves or by another library."""
    if model.external is not None:
        return model.external.sites
    return {
        name: ExternalSite(
            quantizer.bits, _granularity(model.sites[name], quantizer), quantizer.scales, quantizer.zero_points
        )
        for name, quantizer in model.quantizers.items()
    }


def _final_site(model: QuantizedModel) -> str:
    return [name for name, site in model.sites.items() if site.place is Place.VALUE][-1]


def _granularity(site: Site, quantizer: NumberFormat) -> str:
    by_head = isinstance(quantizer, Uniform) and quantizer.axis == 1 and Kind.MATMUL in site.feeds
    return "head" if by_head else quantizer.granularity


def _tensor_class(site: Site, final: str) -> str:
    if site.place is Place.PARAMETER:
        return f"{'attention ' if site.attention else ''}weights"
    if site.place is Place.OPERAND:
        return f"operands from {'the image' if site.kind is Kind.INPUT else site.kind.value}"
    if site.place is Place.CONSTANT:
        return "embeddings and attention biases"
    if site.name == final:
        return "logits"
    if site.kind is Kind.INPUT:
        return "image"
    if site.kind is Kind.SOFTMAX:
        return "attention probabilities"
    if site.attention and Kind.SOFTMAX in site.feeds:
        return "attention scores"
    if site.residual or (site.kind is Kind.ADD and Kind.LAYER_NORM in site.feeds):
        return "residual sums"
    return f"{'attention ' if site.attention else ''}{site.kind.value} outputs"


def full_precision_bytes(model: QuantizedModel) -> int:
    """Bytes of all parameters and constants of the folded network in float32."""
    buffers = {id(buffer): buffer for segment in model.segments for buffer in segment.module.buffers()}
    return sum(buffer.numel() * buffer.element_size() for buffer in buffers.values())


def size_bytes(model: QuantizedModel) -> int:
    """Bytes of the stored model: codes of quantized tensors, their scales and zero points, the rest in float32.

    Linear layers beside blocks (QwT) count in half precision.
    """
    total = float(full_precision_bytes(model))
    for name, described in _described(model).items():
        site = model.sites[name]
        total += SCALE_BYTES * described.scales + ZERO_POINT_BYTES * described.zero_points
        if site.place in (Place.PARAMETER, Place.CONSTANT):
            total -= site.elements * (FULL_PRECISION_BITS - described.bits) / 8
    corrected = [model.sites[name] for name, quantizer in model.quantizers.items() if quantizer.correction]
    total += sum(2 * SCALE_BYTES * site.channels for site in corrected)  # a gain and an offset per output channel
    total += sum(shift.numel() * SCALE_BYTES for name, shift in model.bias_shifts.items() if not _has_bias(model, name))
    total += sum(HALF_BYTES * (weight.numel() + bias.numel()) for weight, bias in model.compensations.values())
    return round(total)


def _has_bias(model: QuantizedModel, node: str) -> bool:
    return any(operation.node == node and operation.bias is not None for operation in model.weights.values())


def bit_operations(model: QuantizedModel) -> int:
    """Sum over matrix products of multiply-accumulates times the widths of both operands, per image.

    The usual cost measure of quantized networks (for example van Baalen et al. 2020); float operands count as 32 bits.
    """
    described = _described(model)
    return sum(
        cost.macs * _bits(described, cost.operands[0]) * _bits(described, cost.operands[1])
        for segment in model.segments
        for cost in segment.costs
    )


def full_precision_bit_operations(model: QuantizedModel) -> int:
    """The same with all operands at 32 bits."""
    return sum(segment.macs for segment in model.segments) * FULL_PRECISION_BITS**2


def _bits(described: Mapping[str, ExternalSite], sites: tuple[str, ...]) -> int:
    """Width of an operand: that of the nearest quantizer it passes through."""
    found = (described[site].bits for site in sites if site in described)
    return next(found, FULL_PRECISION_BITS)


def off_grid_sites(model: QuantizedModel) -> list[str]:
    """Sites whose tensors are not ``(q - z) s`` with at most ``2^bits`` integer codes ``q`` and an integer ``z``.

    Weights are checked by value, another library's by the number of different ones. Logarithmic formats are off the grid:
    ``2^bits`` powers and zero. Sorted: the order in which quantizers were installed depends on what was computed before.
    """
    if model.external is not None:
        weights, sites = model.external.weights, model.external.sites
        return sorted(name for name, weight in weights.items() if _values(weight, sites[name]) > 2 ** sites[name].bits)
    return sorted(name for name, quantizer in model.quantizers.items() if not _on_grid(model, name, quantizer))


def _values(weight: Tensor, site: ExternalSite) -> int:
    """Largest number of different values that share a scale."""
    rows = weight.detach().reshape(site.scales, -1)
    return max(len(row.unique()) for row in rows)


def _on_grid(model: QuantizedModel, name: str, quantizer: NumberFormat) -> bool:
    is_weight = model.sites[name].place is Place.PARAMETER
    return quantizer.on_grid(model.weights[name].quantized_weight().detach() if is_weight else None)
