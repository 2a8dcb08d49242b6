"""The operand and value sites of a captured network, found by rule.

Every arithmetic operation's output is a possible place for a quantizer, and so are the image, the weights and the
constants that are added to values (position embedding, attention bias tables). Which of them get one is the scheme's
decision; this module says what there is and what it feeds.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from torch import fx

from harness.graph import operations as ops
from harness.graph.axes import channel_axis, size_hint
from harness.graph.capture import Captured
from harness.graph.flow import computed_by, is_arithmetic, readers, selected_tail
from harness.graph.operations import Kind

aten = ops.aten


class Place(StrEnum):
    """Where a site sits: after an operation, before one of its readers, or on a tensor of the network."""

    VALUE = "value"
    OPERAND = "operand"
    PARAMETER = "parameter"
    CONSTANT = "constant"


@dataclass(frozen=True)
class Site:
    """A named place where a tensor can be quantized.

    Attributes:
        name: Module path and operation (``blocks.0.attn:matmul``), or the name of a weight or constant. An operand has
            the name of the operation that reads it: ``...:linear[x]``, ``...:matmul[a]``, ``...:matmul[b]``.
        kind: The operation whose output it is; ``weight``, ``constant`` and ``input`` for the others.
        place: Value, operand, parameter or constant.
        node: Name of the graph node after which the quantizer acts (weights, operands: the operation that reads it).
        source: Name of the arithmetic node that computes the tensor (differs where tokens are selected in between).
        module: Path of the module that ran the operation.
        axis: Channel axis of the tensor.
        channels: Size of that axis.
        elements: Elements per image (of the tensor itself for weights and constants).
        feeds: Kinds of the arithmetic operations that read it, looking through structural ones.
        fused: Its only reader is an activation that hardware fuses (GELU, ReLU), so it is never stored.
        residual: It is a sum of two computed tensors with the same channels, outside attention.
        attention: Path of the attention module it belongs to; empty outside attention.
        function: ATen operation that computes it, for example ``gelu``; empty for the image, weights and constants.
        along_channels: For an operand: the channels of the value it carries are its own last axis, which the reader sums
            over. Not so where tokens are mixed: there the axis of the tokens is last.
    """

    name: str
    kind: Kind
    place: Place
    node: str
    source: str
    module: str
    axis: int
    channels: int
    elements: int
    feeds: frozenset[Kind] = frozenset()
    fused: bool = False
    residual: bool = False
    attention: str = ""
    function: str = ""
    along_channels: bool = False


@dataclass
class _Scan:
    """Facts gathered while walking the graph once."""

    axes: dict[fx.Node, int] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


def find_sites(captured: Captured) -> list[Site]:
    """All sites of the network in execution order, weights right before the operation that reads them."""
    scan = _Scan()
    sites: list[Site] = []
    attention = _attention_modules(captured)
    for node in captured.graph.nodes:
        if node.op == "placeholder":
            scan.axes[node] = 1
            sites.append(_value_site("input", Kind.INPUT, node, node, captured, scan, attention))
        if node.op != "call_function" or ops.is_symbolic(node):
            continue
        scan.axes[node] = channel_axis(node, scan.axes)
        kind = ops.kind_of(node)
        if kind is None or not is_arithmetic(node, captured.trainable) or (kind is Kind.OTHER and not ops.is_value(node)):
            continue
        name = _unique(f"{ops.module_path(node) or 'model'}:{kind}", scan.names)
        sites += _read_sites(node, kind, name, captured, scan, attention)
        sites += _tensor_sites(node, kind, captured, scan, attention)
        at = selected_tail(node)
        scan.axes.setdefault(at, -1)  # selected tokens: channels are last
        sites.append(_value_site(name, kind, node, at, captured, scan, attention))
    return sites


def elements_per_image(node: fx.Node) -> int:
    """Number of elements of the traced tensor divided by the traced batch of two images."""
    return math.prod(size_hint(size) for size in ops.shape_of(node)) // 2


def _unique(name: str, taken: set[str]) -> str:
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def _value_site(
    name: str, kind: Kind, source: fx.Node, at: fx.Node, captured: Captured, scan: _Scan, attention: set[str]
) -> Site:
    read_by = readers(at, captured.trainable)
    axis = scan.axes[at]
    shape = ops.shape_of(at)
    return Site(
        name=name,
        kind=kind,
        place=Place.VALUE,
        node=at.name,
        source=source.name,
        module=ops.module_path(source),
        axis=axis,
        channels=size_hint(shape[axis]),
        elements=elements_per_image(at),
        feeds=frozenset(_kinds(read_by)),
        fused=kind in (Kind.CONV, Kind.LINEAR, Kind.AFFINE, Kind.ADD)
        and bool(at.users)
        and all(user.target in ops.FUSED_ACTIVATIONS for user in at.users)
        and len(at.users) == 1,
        residual=_is_residual(source, kind, read_by),
        attention=_within(ops.module_path(source), attention),
        function=_function(source),
    )


def _is_residual(node: fx.Node, kind: Kind, read_by: list[fx.Node]) -> bool:
    if kind is not Kind.ADD or Kind.SOFTMAX in _kinds(read_by):
        return False
    return len({source for source in ops.tensor_inputs(node) if source.op != "get_attr"}) == 2


def _read_sites(node: fx.Node, kind: Kind, name: str, captured: Captured, scan: _Scan, attention: set[str]) -> list[Site]:
    """The computed tensors that a convolution, linear operation or matrix product reads."""
    if kind in (Kind.CONV, Kind.LINEAR):
        reads = [("x", node.args[0])] if isinstance(node.args[1], fx.Node) and node.args[1].op == "get_attr" else []
    elif kind is Kind.MATMUL:
        reads = [("a", node.args[0]), ("b", node.args[1])]
    else:
        reads = []
    return [
        _read_site(f"{name}[{letter}]", operand, node, kind, captured, scan, attention)
        for letter, operand in reads
        if isinstance(operand, fx.Node) and operand.op != "get_attr"
    ]


def _read_site(
    name: str, operand: fx.Node, reader: fx.Node, kind: Kind, captured: Captured, scan: _Scan, attention: set[str]
) -> Site:
    source = computed_by(operand, captured.trainable)
    axis = channel_axis(reader, scan.axes) if kind is Kind.CONV else len(ops.shape_of(operand)) - 1
    return Site(
        name=name,
        kind=_kind_of_source(source),
        place=Place.OPERAND,
        node=reader.name,
        source=source.name,
        module=ops.module_path(reader),
        axis=axis,
        channels=size_hint(ops.shape_of(operand)[axis]),
        elements=elements_per_image(operand),
        feeds=frozenset({kind}),
        attention=_within(ops.module_path(reader), attention),
        function=_function(source),
        along_channels=_same_channels(source, operand, axis, scan),
    )


def _same_channels(source: fx.Node, operand: fx.Node, axis: int, scan: _Scan) -> bool:
    """Whether an axis of an operand is the channel axis of the value it carries, whole and nothing but it."""
    before, after = ops.shape_of(source), ops.shape_of(operand)
    if source not in scan.axes or scan.axes.get(operand, -1) % len(after) != axis:
        return False
    return size_hint(before[scan.axes[source]]) == size_hint(after[axis])


def _kind_of_source(source: fx.Node) -> Kind:
    if source.op == "get_attr":
        return Kind.CONSTANT
    return ops.kind_of(source) or Kind.INPUT


def _kinds(nodes: list[fx.Node]) -> list[Kind]:
    return [kind for node in nodes if (kind := ops.kind_of(node)) is not None]


def _function(node: fx.Node) -> str:
    if node.target is operator.getitem and isinstance(node.args[0], fx.Node):
        return _function(node.args[0])
    return str(node.target.overloadpacket.__name__) if isinstance(node.target, torch._ops.OpOverload) else ""


def _tensor_sites(node: fx.Node, kind: Kind, captured: Captured, scan: _Scan, attention: set[str]) -> list[Site]:
    """The weight of a convolution or linear operation, or the trainable constant an addition reads."""
    if kind in (Kind.CONV, Kind.LINEAR):
        weight = node.args[1]
        assert isinstance(weight, fx.Node)
        return [_tensor_site(weight, node, Kind.WEIGHT, captured, scan, attention)] if weight.op == "get_attr" else []
    if kind is not Kind.ADD:
        return []
    constants = [_through_expand(source) for source in ops.tensor_inputs(node)]
    return [
        _tensor_site(source, node, Kind.CONSTANT, captured, scan, attention)
        for source in constants
        if source.op == "get_attr" and str(source.target) in captured.trainable
    ]


def _through_expand(node: fx.Node) -> fx.Node:
    while node.target in (aten.expand.default, aten.unsqueeze.default) and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def _tensor_site(tensor: fx.Node, reader: fx.Node, kind: Kind, captured: Captured, scan: _Scan, attention: set[str]) -> Site:
    value = captured.constants[str(tensor.target)]
    axis = 0 if kind is Kind.WEIGHT else value.ndim - 1
    return Site(
        name=_unique(str(tensor.target), scan.names),
        kind=kind,
        place=Place.PARAMETER if kind is Kind.WEIGHT else Place.CONSTANT,
        node=reader.name if kind is Kind.WEIGHT else tensor.name,
        source=tensor.name,
        module=ops.module_path(reader),
        axis=axis,
        channels=value.shape[axis],
        elements=value.numel(),
        feeds=frozenset(_kinds([reader])),
        attention=_within(ops.module_path(reader), attention),
    )


def _attention_modules(captured: Captured) -> set[str]:
    """Module paths that multiply queries with keys: the module of the product that feeds a softmax."""
    products = (n for n in captured.graph.nodes if ops.kind_of(n) is Kind.MATMUL)
    paths = {ops.module_path(node) for node in products if _reaches_softmax(node, captured.trainable)}
    return paths - {""}


def _reaches_softmax(node: fx.Node, trainable: frozenset[str]) -> bool:
    for reader in readers(node, trainable):
        kind = ops.kind_of(reader)
        if kind is Kind.SOFTMAX or (kind in (Kind.ADD, Kind.OTHER) and _reaches_softmax(reader, trainable)):
            return True
    return False


def _within(path: str, modules: set[str]) -> str:
    """The innermost of ``modules`` that ``path`` lies in, or an empty string."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        candidate = ".".join(parts[:length])
        if candidate in modules:
            return candidate
    return ""
