"""What a quantized model really is: coverage by tensor class, size, bit-operations, and what integers can compute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from harness.graph.operations import Kind
from harness.graph.sites import Place, Site
from harness.quant.format.base import NumberFormat
from harness.quant.format.log_int_softmax import LogIntSoftmax
from harness.quant.format.realisation import INTEGER, MANY, SCALE_BYTES, ZERO_POINT_BYTES, Grid, Realisation
from harness.quant.format.uniform import Uniform
from harness.quant.network.external import ExternalSite
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.record import CoverageRow, FloatRow, GridRow

FULL_PRECISION_BITS = 32
HALF_BYTES = 2  # linear layers beside blocks are kept in half precision
CLIPPING = ("relu", "relu6", "hardtanh")  # activations that only clip: integers do it
IN_FLOATING_POINT = (Kind.LAYER_NORM, Kind.AFFINE, Kind.ADD, Kind.MUL, Kind.MEAN)
BIASES = "biases"


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


def classes_of(model: QuantizedModel, names: Iterable[str]) -> dict[str, str]:
    """The tensor class of sites, as coverage tables call it."""
    final = _final_site(model)
    return {name: _tensor_class(model.sites[name], final) for name in names}


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


def size_bytes(model: QuantizedModel, least: int = 1) -> int:
    """Bytes of the stored model: codes of quantized tensors, their scales and zero points, the rest in float32.

    Linear layers beside blocks (QwT) count in half precision.

    Args:
        model: The network.
        least: Bits that a stored code has at least: 1 packs all codes tightly, runtimes mostly have bytes.
    """
    total = float(full_precision_bytes(model)) + _parameter_bytes(model)
    for name, described in _described(model).items():
        site = model.sites[name]
        if site.place in (Place.PARAMETER, Place.CONSTANT):
            total -= site.elements * (FULL_PRECISION_BITS - max(described.bits, least)) / 8
    corrected = [model.sites[name] for name, quantizer in model.quantizers.items() if quantizer.correction]
    total += sum(SCALE_BYTES * site.channels for site in corrected)  # an offset each; the gain folds into the scale
    total += sum(shift.numel() * SCALE_BYTES for name, shift in model.bias_shifts.items() if not _has_bias(model, name))
    total += sum(HALF_BYTES * (weight.numel() + bias.numel()) for weight, bias in model.compensations.values())
    return round(total)


def _parameter_bytes(model: QuantizedModel) -> float:
    """Scales, zero points and factors as they would be stored."""
    if model.external is None:
        return sum(quantizer.parameter_bytes for quantizer in model.quantizers.values())
    sites = model.external.sites.values()
    return sum(SCALE_BYTES * site.scales + ZERO_POINT_BYTES * site.zero_points for site in sites)


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


def realisations(model: QuantizedModel) -> dict[str, Realisation]:
    """How integer arithmetic computes with each quantized tensor, by site in execution order.

    Weights are checked by value, another library's by the number of different ones.
    """
    if model.external is not None:
        weights, sites = model.external.weights, model.external.sites
        return {
            name: MANY if name in weights and _values(weights[name], sites[name]) > 2 ** sites[name].bits else INTEGER
            for name in model.sites
            if name in sites
        }
    installed = [name for name in model.sites if name in model.quantizers]
    return {name: model.quantizers[name].realisation(_weight(model, name)) for name in installed}


def _weight(model: QuantizedModel, name: str) -> Tensor | None:
    is_weight = model.sites[name].place is Place.PARAMETER
    return model.weights[name].quantized_weight().detach() if is_weight else None


def _values(weight: Tensor, site: ExternalSite) -> int:
    """Largest number of different values that share a scale."""
    rows = weight.detach().reshape(site.scales, -1)
    return max(len(row.unique()) for row in rows)


def off_grid_sites(model: QuantizedModel) -> list[str]:
    """Sites whose tensors are not integers as they stand: ``(q - z) s``, or the shifts of an integer softmax. Sorted."""
    return sorted(name for name, realisation in realisations(model).items() if realisation.grid is not Grid.INTEGER)


def grid(model: QuantizedModel) -> list[GridRow]:
    """How integers compute with the quantized tensors: by class and reason, in execution order of their first site."""
    final = _final_site(model)
    rows: dict[tuple[str, Realisation], GridRow] = {}
    for name, realisation in realisations(model).items():
        label = _tensor_class(model.sites[name], final)
        empty: GridRow = {"tensors": label, "grid": realisation.grid.value, "reason": realisation.reason, "sites": 0}
        rows.setdefault((label, realisation), empty)["sites"] += 1
    return list(rows.values())


def floating_point(model: QuantizedModel) -> list[FloatRow]:
    """What an inference of this network computes or stores in floating point.

    Softmax and activation functions are computed in floating point unless their format is an integer operator; sums, means
    and norms where their result has no quantizer; matrix products where an operand has none. Biases are stored in float32:
    in integer arithmetic they become 32-bit integers at the scale of the product, so alone they are no obstacle.
    """
    described = _described(model)
    names = [_float_operation(model, site, described) for site in model.sites.values() if site.place is Place.VALUE]
    names += [
        "matrix product" for segment in model.segments for cost in segment.costs if _is_float(described, cost.operands)
    ]
    names += ["linear layer beside a block"] * len(model.compensations)
    names += [BIASES for operation in model.weights.values() if operation.bias is not None]
    counts = {name: names.count(name) for name in dict.fromkeys(names) if name}
    return [{"operation": name, "count": count} for name, count in counts.items()]


def altered(model: QuantizedModel) -> list[str]:
    """What makes the network another one than that of its checkpoint or stack, in words.

    Quantization and exact transforms do not.
    """
    counts = {
        "activation function{} replaced by ReLU": len(model.edits.rectified),
        "integer LayerNorm{} computed in floating point": len(model.edits.float_norms),
    }
    return [f"{count} {what.format('s' if count > 1 else '')}" for what, count in counts.items() if count]


def integer_only(model: QuantizedModel) -> bool:
    """Whether integers compute the whole network: nothing in floating point, every quantized tensor realisable."""
    computed = [row for row in floating_point(model) if row["operation"] != BIASES]
    return not computed and all(found.grid is not Grid.NONE for found in realisations(model).values())


def _float_operation(model: QuantizedModel, site: Site, described: Mapping[str, ExternalSite]) -> str:
    """What the operation of a value is called if it runs in floating point; empty if integers do it."""
    if site.kind is Kind.SOFTMAX:
        return "" if isinstance(model.quantizers.get(site.name), LogIntSoftmax) else "softmax"
    if site.kind in (Kind.ACTIVATION, Kind.OTHER):
        return "" if site.function in CLIPPING else site.function
    if site.kind is Kind.LAYER_NORM and site.source not in model.integer_norms:
        return site.kind.value
    unquantized = site.name not in described and not site.fused
    return site.kind.value if site.kind in IN_FLOATING_POINT and unquantized else ""


def _is_float(described: Mapping[str, ExternalSite], operands: tuple[tuple[str, ...], tuple[str, ...]]) -> bool:
    return any(_bits(described, sites) == FULL_PRECISION_BITS for sites in operands)
