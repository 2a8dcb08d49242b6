"""Turn a captured network into executable segments with a tap at every site."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from harness.errors import CaptureError
from harness.graph import operations as ops
from harness.graph.axes import size_hint
from harness.graph.capture import Captured, flat_name
from harness.graph.operations import Kind
from harness.graph.segments import Span, cut
from harness.graph.sites import Place, Site, elements_per_image, find_sites
from harness.quant.network.activations import Activation, steady
from harness.quant.network.borders import entering, last_alive
from harness.quant.network.constants import Constant
from harness.quant.network.convolution import convolution_of
from harness.quant.network.operators import LayerNorm, MatMul, Softmax, Tap, WeightedOperation, bind
from harness.quant.network.routes import Read, route_of
from harness.quant.network.runtime import Runtime


@dataclass(frozen=True)
class ProductCost:
    """Multiply-accumulate operations of one matrix product or convolution.

    Attributes:
        node: Name of the graph node.
        macs: Multiply-accumulates per image.
        operands: Names of the sites that each of its two operands passes through, the nearest first.
    """

    node: str
    macs: int
    operands: tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Segment:
    """One step of the chain: reads one tensor with the batch in front, returns one.

    Attributes:
        name: Module path of the block, or ``stem``, ``middle_<n>``, ``head``.
        module: Executable; quantizers act as the runtime says.
        is_block: Whether methods optimise it as a unit.
        sites: Names of its sites in execution order.
        costs: Its matrix products.
    """

    name: str
    module: fx.GraphModule
    is_block: bool
    sites: tuple[str, ...]
    costs: tuple[ProductCost, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image."""
        return sum(cost.macs for cost in self.costs)


@dataclass(frozen=True)
class Chain:
    """All segments of a network with their shared runtime.

    Attributes:
        segments: In order; the output of each is the input of the next.
        sites: Every site by name, in execution order.
        weights: The operations that own a weight, by the weight's site name.
        products: They, and the products of computed tensors, by node name.
        layer_norms: Node names of the layer norms and the names of their input and output sites.
        norms: The layer norms themselves, by node name.
        runtime: Shared by every operation.
        captured: The graph that all of it was made of.
    """

    segments: tuple[Segment, ...]
    sites: dict[str, Site]
    weights: dict[str, WeightedOperation]
    products: dict[str, WeightedOperation | MatMul]
    layer_norms: dict[str, tuple[str, str]]
    norms: dict[str, LayerNorm]
    runtime: Runtime
    captured: Captured

    def constant(self, node: str) -> Tensor:
        """The network's own constant, by its node's name.

        Raises:
            KeyError: There is none.
        """
        targets = {one.name: str(one.target) for one in self.captured.graph.nodes if one.op == "get_attr"}
        return self.captured.constants[targets[node]]


def build_chain(captured: Captured, pattern: str) -> Chain:
    """Build the executable chain of a folded network.

    Args:
        captured: The network.
        pattern: Regular expression of block paths (``graph.segments``).
    """
    sites = find_sites(captured)
    runtime = Runtime()
    spans = list(cut(captured, pattern))
    builder = _Builder(captured, sites, runtime, {node.name: span.name for span in spans for node in span.nodes})
    segments = tuple(builder.segment(span) for span in spans)
    named = {site.name: site for site in sites}
    return Chain(segments, named, builder.weights, builder.products, builder.layer_norms, builder.norms, runtime, captured)


class _Builder:
    """Copies spans of nodes into graphs of their own."""

    def __init__(self, captured: Captured, sites: list[Site], runtime: Runtime, segment_of: dict[str, str]) -> None:
        self.captured = captured
        self.runtime = runtime
        self.segment_of = segment_of
        self.values = {site.node: site for site in sites if site.place is Place.VALUE}
        self.constants = {site.node: site for site in sites if site.place is Place.CONSTANT}
        self.parameters = {site.node: site for site in sites if site.place is Place.PARAMETER}
        self.operands = {site.name: site for site in sites if site.place is Place.OPERAND}
        self.by_source = {site.source: site for site in sites if site.place is Place.VALUE}
        self.weights: dict[str, WeightedOperation] = {}
        self.products: dict[str, WeightedOperation | MatMul] = {}
        self.layer_norms: dict[str, tuple[str, str]] = {}
        self.norms: dict[str, LayerNorm] = {}

    def segment(self, span: Span) -> Segment:
        """Build one segment."""
        writer = _Writer(self, span)
        for node in span.nodes:
            writer.copy(node)
        writer.graph.output(writer.mapping[last_alive(span)])
        module = fx.GraphModule(writer.root, writer.graph)
        costs = tuple(cost for node in span.nodes if (cost := self.cost(node)) is not None)
        return Segment(span.name, module, span.is_block, tuple(writer.sites), costs)

    def carried(self, node: fx.Node) -> str:
        """Name of the site whose quantizer the node's value carries, looking back through structural operations."""
        return route_of(node, self.site_after, self.segment_of, "").site

    def site_after(self, node: fx.Node) -> str:
        """Name of the site right after a node or of a constant; empty where there is none."""
        found = self.constants if node.op == "get_attr" else self.values
        return found[node.name].name if node.name in found else ""

    def reading(self, node: fx.Node, letter: str, source: fx.Node) -> Read:
        """How a product gets an operand."""
        route = route_of(source, self.site_after, self.segment_of, self.segment_of[node.name])
        return Read(self.read(node, letter), route, len(ops.shape_of(source)))

    def cost(self, node: fx.Node) -> ProductCost | None:
        """Multiply-accumulates of a convolution, linear operation or matrix product; None for the rest."""
        kind = ops.kind_of(node)
        if kind in (Kind.CONV, Kind.LINEAR):
            weight = node.args[1]
            assert isinstance(weight, fx.Node)
            assert isinstance(node.args[0], fx.Node)
            site = self.parameters.get(node.name)
            depth = math.prod(size_hint(size) for size in ops.shape_of(weight)[1:])
            weight_sites = (site.name,) if site else ()
            return ProductCost(
                node.name, elements_per_image(node) * depth, (self.operand(node, "x", node.args[0]), weight_sites)
            )
        if kind is Kind.MATMUL:
            left, right = node.args[0], node.args[1]
            assert isinstance(left, fx.Node)
            assert isinstance(right, fx.Node)
            depth = size_hint(ops.shape_of(left)[-1])
            operands = (self.operand(node, "a", left), self.operand(node, "b", right))
            return ProductCost(node.name, elements_per_image(node) * depth, operands)
        return None

    def operand(self, node: fx.Node, letter: str, source: fx.Node) -> tuple[str, ...]:
        """Names of the sites that an operand passes through: its own, then that of the value it carries."""
        return tuple(name for name in (self.read(node, letter), self.carried(source)) if name)

    def read(self, node: fx.Node, letter: str) -> str:
        """Name of the site of what a node reads; empty where there is none (constants)."""
        name = f"{self.by_source[node.name].name}[{letter}]"
        return name if name in self.operands else ""


class _Writer:
    """Writes one segment's graph."""

    def __init__(self, builder: _Builder, span: Span) -> None:
        self.builder = builder
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.mapping: dict[fx.Node, fx.Node] = {}
        self.sites: list[str] = []
        source = entering(span)
        self.placeholder = self.graph.placeholder("x")
        self.mapping[source] = self.placeholder
        self.batch: fx.Node | None = None
        if source.op == "placeholder" and source.name in builder.values:
            self.mapping[source] = self.tap(self.placeholder, builder.values[source.name])

    def copy(self, node: fx.Node) -> None:
        """Write one operation and the taps that belong to it."""
        builder = self.builder
        if node.name in builder.parameters:
            written = self.weighted(node, builder.parameters[node.name])
        elif node.target == torch.ops.aten.layer_norm.default:
            written = self.layer_norm(node)
        elif node.target == torch.ops.aten.softmax.int:
            written = self.softmax(node)
        elif ops.kind_of(node) is Kind.MATMUL:
            written = self.matmul(node)
        elif steady(node.target, dict(node.kwargs)) is not None and len(node.args) == 1:
            written = self.activation(node)
        else:
            written = self.graph.node_copy(node, self.get)
        self.mapping[node] = written
        if node.name in builder.values:
            self.mapping[node] = self.tap(written, builder.values[node.name])

    def get(self, node: fx.Node) -> fx.Node:
        """The written form of an argument: value, constant (with its tap) or batch size."""
        if node not in self.mapping:
            if ops.is_symbolic(node):
                self.mapping[node] = self.symbolic(node)
            elif node.op == "get_attr":
                self.mapping[node] = self.constant(node)
            else:
                raise CaptureError(f"operation {node.name} is read across a segment border")
        return self.mapping[node]

    def symbolic(self, node: fx.Node) -> fx.Node:
        count = ops.per_image(node.meta["val"])
        if count is None:
            return self.graph.node_copy(node, self.get)
        if self.batch is None:
            self.batch = self.graph.call_function(torch.ops.aten.sym_size.int, (self.placeholder, 0))
        return self.batch if count == 1 else self.graph.call_function(operator.mul, (self.batch, count))

    def constant(self, node: fx.Node) -> fx.Node:
        name = flat_name(str(node.target))
        if not hasattr(self.root, name):
            self.root.register_buffer(name, self.builder.captured.constants[str(node.target)], persistent=False)
        written = self.graph.get_attr(name)
        if self.builder.captured.constants[str(node.target)].is_floating_point():
            written = self.call(f"constant_{node.name}", Constant(self.builder.runtime, node.name), written)
        site = self.builder.constants.get(node.name)
        return written if site is None else self.tap(written, site)

    def tap(self, value: fx.Node, site: Site) -> fx.Node:
        self.sites.append(site.name)
        return self.call(f"tap_{flat_name(site.name.replace(':', '__'))}", Tap(self.builder.runtime, site), value)

    def call(self, name: str, module: nn.Module, *arguments: object) -> fx.Node:
        self.root.add_module(name, module)
        return self.graph.call_module(name, tuple(arguments))  # type: ignore[arg-type]

    def weighted(self, node: fx.Node, site: Site) -> fx.Node:
        weight, bias = self.tensor(node.args[1]), self.tensor(node.args[2] if len(node.args) > 2 else None)
        assert weight is not None
        function = bind(node.target, tuple(node.args[3:]), dict(node.kwargs))
        assert isinstance(node.args[0], fx.Node)
        read = self.builder.reading(node, "x", node.args[0])
        convolution = convolution_of(node.target, node.args[3:], node.kwargs, weight)
        operation = WeightedOperation(self.builder.runtime, site, read, node.name, function, weight, bias, convolution)
        self.builder.weights[site.name] = self.builder.products[node.name] = operation
        self.sites += [read.own, site.name]
        return self.call(f"op_{node.name}", operation, self.get(node.args[0]))

    def tensor(self, node: object) -> Tensor | None:
        return self.builder.captured.constants[str(node.target)] if isinstance(node, fx.Node) else None

    def layer_norm(self, node: fx.Node) -> fx.Node:
        x, shape, *rest = node.args
        assert isinstance(x, fx.Node)
        weight, bias = (*rest, None, None)[:2]
        eps = rest[2] if len(rest) > 2 else 1e-5
        sources = (self.builder.carried(x), self.builder.by_source[node.name].name)
        self.builder.layer_norms[node.name] = sources
        module = LayerNorm(
            self.builder.runtime,
            node.name,
            sources,
            self.tensor(weight),
            self.tensor(bias),
            float(eps),  # type: ignore[arg-type]
        )
        self.builder.norms[node.name] = module
        return self.call(f"op_{node.name}", module, self.get(x), shape)

    def matmul(self, node: fx.Node) -> fx.Node:
        left, right = node.args[:2]
        assert isinstance(left, fx.Node)
        assert isinstance(right, fx.Node)
        reads = (self.builder.reading(node, "a", left), self.builder.reading(node, "b", right))
        self.sites += [read.own for read in reads if read.own]
        module = MatMul(self.builder.runtime, reads, node.target)  # type: ignore[arg-type]
        self.builder.products[node.name] = module
        return self.call(f"op_{node.name}", module, self.get(left), self.get(right))

    def activation(self, node: fx.Node) -> fx.Node:
        options, x = dict(node.kwargs), node.args[0]
        form = steady(node.target, options)
        assert form is not None
        assert isinstance(x, fx.Node)
        module = Activation(self.builder.runtime, node.target, options, form, node.name)  # type: ignore[arg-type]
        return self.call(f"op_{node.name}", module, self.get(x))

    def softmax(self, node: fx.Node) -> fx.Node:
        x, axis = node.args[0], node.args[1]
        assert isinstance(x, fx.Node)
        module = Softmax(self.builder.runtime, self.builder.carried(x), self.builder.by_source[node.name].name)
        return self.call(f"op_{node.name}", module, self.get(x), axis)
