"""A quantized network as a plain torch module whose quantizers are explicit: what the exporter of torch reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn

from harness.deploy.carried import rescale
from harness.deploy.grids import ActivationGrid, activation_grid, weight_codes
from harness.deploy.layers import (
    Convolution,
    Factored,
    Linear,
    Norm,
    Pair,
    Patches,
    Plain,
    Product,
    Replaced,
    Softmax,
    Stored,
    Weighted,
)
from harness.deploy.per_head import is_per_head
from harness.graph.operations import Kind
from harness.graph.sites import Place
from harness.quant.format.affine import Affine
from harness.quant.format.base import NumberFormat
from harness.quant.format.power_of_two import PowerOfTwo
from harness.quant.format.requantized import Requantized
from harness.quant.network import operators
from harness.quant.network.activations import Activation
from harness.quant.network.constants import Constant
from harness.quant.network.qmodel import QuantizedModel


class DeployedNetwork(nn.Module):
    """The chain of segments, linear layers beside blocks included.

    Args:
        segments: Their modules, in order.
        compensations: Weight and bias of a linear layer beside a block, by the segment's number.
    """

    def __init__(self, segments: list[nn.Module], compensations: dict[int, tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.segments = nn.ModuleList(segments)
        self.beside = sorted(compensations)
        for number, (weight, bias) in compensations.items():
            self.register_buffer(f"beside_{number}_weight", weight)
            self.register_buffer(f"beside_{number}_bias", bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of preprocessed images ``(n, c, h, w)``."""
        x = images
        for number, segment in enumerate(self.segments):
            y = segment(x)
            if number in self.beside:
                y = y + x @ getattr(self, f"beside_{number}_weight") + getattr(self, f"beside_{number}_bias")
            x = y
        return x


def deployed(model: QuantizedModel) -> DeployedNetwork:
    """The network with explicit quantizers.

    Args:
        model: A network that ``refusals`` finds nothing wrong with.
    """
    segments: list[nn.Module] = []
    grid: ActivationGrid | None = None
    beside: dict[int, tuple[Tensor, Tensor]] = {}
    for number, segment in enumerate(model.segments):
        module, grid = _segment(model, segment.module, grid)
        segments.append(module)
        if segment.name in model.compensations:
            beside[number] = model.compensations[segment.name]
            grid = None
    return DeployedNetwork(segments, beside).eval()


def _segment(
    model: QuantizedModel, source: fx.GraphModule, grid: ActivationGrid | None
) -> tuple[fx.GraphModule, ActivationGrid | None]:
    """One segment, and the grid of what it returns if that lies on one."""
    root = nn.Module()
    for name, tensor in source.named_buffers(recurse=False):
        root.register_buffer(name, tensor)
    for name, module in source.named_children():
        root.add_module(name, _replaced(model, module))
    graph = fx.Graph()
    output = graph.graph_copy(source.graph, {})
    graph.output(output)
    grid = rescale(graph, root, grid)
    return fx.GraphModule(root, graph), grid


def _replaced(model: QuantizedModel, module: nn.Module) -> nn.Module:
    """What stands in the place of an operation of the simulation."""
    builders: dict[type[nn.Module], Callable[[QuantizedModel, Any], nn.Module]] = {
        Activation: _activation,
        Constant: _in_place,
        operators.Tap: _tap,
        operators.WeightedOperation: _weighted,
        operators.MatMul: _product,
        operators.LayerNorm: _norm,
        operators.Softmax: lambda model, module: Softmax(),
    }
    build = builders.get(type(module))
    return module if build is None else build(model, module)


def _tap(model: QuantizedModel, tap: operators.Tap) -> nn.Module:
    """A value's quantizer; of a constant, the stored codes."""
    quantizer = model.quantizers.get(tap.site.name)
    if not isinstance(quantizer, Affine) or tap.site.place is not Place.CONSTANT:
        return _quantizer(quantizer)
    value = _constant(model, tap.site.node)
    return Stored(weight_codes(quantizer, value, value))


def _constant(model: QuantizedModel, node: str) -> Tensor:
    """A constant of the quantized network: what a transform put in its place, or its own value."""
    replaced = model.edits.replaced_constants.get(node)
    return model.chain.constant(node) if replaced is None else replaced


def _activation(model: QuantizedModel, activation: Activation) -> nn.Module:
    """An activation function; ReLU where a transform put it in its place."""
    return nn.ReLU() if activation.node in model.edits.rectified else activation


def _in_place(model: QuantizedModel, constant: Constant) -> nn.Module:
    """A constant's place, before its quantizer."""
    replaced = model.edits.replaced_constants.get(constant.node)
    return nn.Identity() if replaced is None else Replaced(replaced)


def _quantizer(quantizer: NumberFormat | None) -> nn.Module:
    """An activation's quantizer as pairs."""
    if not isinstance(quantizer, Affine):
        return nn.Identity()
    if not isinstance(quantizer, PowerOfTwo):
        return Pair(activation_grid(quantizer))
    factored = Factored(activation_grid(quantizer, quantizer.free_scales), quantizer.factors, quantizer.axis or 0)
    if not isinstance(quantizer, Requantized):
        return factored
    top = 2**quantizer.bits - 1
    scale, zero_point = float(quantizer.second_scale.item()), int(quantizer.second_zero_point.item())
    return nn.Sequential(factored, Pair(ActivationGrid(scale, zero_point, 0, top)))


def _weighted(model: QuantizedModel, operation: operators.WeightedOperation) -> Weighted:
    read, bias = _quantizer(model.quantizers.get(operation.operand)), operation.shifted_bias()
    quantizer, present = model.quantizers.get(operation.site.name), operation.present_weight
    linear = Kind.LINEAR in operation.site.feeds
    if linear or window_of(operation) is not None:
        present = present.flatten(1)
    if not isinstance(quantizer, Affine):
        weight: nn.Module = Plain(present.t().contiguous() if present.ndim == 2 else present)
        return _of_kind(operation, read, weight, bias, None)
    rounded = model.rounded_weights.get(operation.site.name)
    stored = weight_codes(quantizer, present if rounded is None else rounded.reshape(present.shape), present)
    return _of_kind(operation, read, Stored(stored, transposed=present.ndim == 2), bias, stored.offset)


def _of_kind(
    operation: operators.WeightedOperation, read: nn.Module, weight: nn.Module, bias: Tensor | None, offset: Tensor | None
) -> Weighted:
    if Kind.LINEAR in operation.site.feeds:
        return Linear(read, weight, bias, offset)
    window = window_of(operation)
    if window is not None:
        return Patches(read, weight, bias, offset, window)
    shape, groups = operation.weight.shape, int(convolution_arguments(operation)["groups"])
    return Convolution(read, weight, bias, offset, operation.function, shape, groups)


def convolution_arguments(operation: operators.WeightedOperation) -> dict[str, Any]:
    """Stride, padding, dilation and groups of a convolution, by name."""
    dimensions = operation.weight.ndim - 2
    given, options = operation.function.fixed  # type: ignore[attr-defined]
    defaults = {"stride": [1], "padding": [0], "dilation": [1], "groups": 1}
    found = defaults | dict(zip(defaults, given, strict=False)) | options
    return {name: _each(value, dimensions) for name, value in found.items()}


def _each(value: Any, dimensions: int) -> Any:
    """One number for all dimensions as one for each."""
    return list(value) * dimensions if isinstance(value, list | tuple) and len(value) == 1 else value


def window_of(operation: operators.WeightedOperation) -> tuple[int, int] | None:
    """Size of a two-dimensional convolution's windows where they tile the image exactly; None elsewhere."""
    weight = operation.weight
    if Kind.CONV not in operation.site.feeds or weight.ndim != 4:
        return None
    given = convolution_arguments(operation)
    size = (int(weight.shape[2]), int(weight.shape[3]))
    plain = given["padding"] in ("valid", [0, 0]) and set(given["dilation"]) == {1} and given["groups"] == 1
    tiles = tuple(given["stride"]) == size and min(size) > 1
    return size if plain and tiles else None


def _product(model: QuantizedModel, module: operators.MatMul) -> Product:
    sides = [_side(model, operand.name) for operand in (module.left, module.right)]
    return Product(sides[0][0], sides[1][0], module.function, (sides[0][1], sides[1][1]))


def _side(model: QuantizedModel, name: str) -> tuple[nn.Module, Tensor | None]:
    """An operand's quantizer, and factors per head that leave the product."""
    quantizer = model.quantizers.get(name)
    if not isinstance(quantizer, Affine) or not is_per_head(model.sites[name], quantizer):
        return _quantizer(quantizer), None
    low, high = quantizer.code_range
    grid = ActivationGrid(1.0, int(quantizer.zero_point.flatten()[0]) - low, 0, high - low)
    return Pair(grid), quantizer.scale.detach()


def _norm(model: QuantizedModel, norm: operators.LayerNorm) -> Norm:
    weight, bias = model.replaced_norms.get(norm.node, (norm.weight, norm.bias))
    return Norm(weight, bias, norm.eps, centred=norm.node not in model.edits.rms_norms)
