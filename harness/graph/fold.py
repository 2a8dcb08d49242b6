"""Fold batch normalisation into the convolution or linear operation before it, or into the linear one after it.

In evaluation mode batch normalisation is ``y = a x + b`` per channel with ``a = gamma / sqrt(var + eps)`` and
``b = beta - a mean`` (Ioffe & Szegedy 2015). Folded weights are computed in float64 and rounded once to float32.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import torch
from torch import Tensor, fx

from harness.graph import operations as ops
from harness.graph.capture import Captured, copy_graph

aten = ops.aten
_PRODUCERS = (aten.conv2d.default, aten.conv2d.padding, aten.conv1d.default, aten.linear.default)
_RESHAPES = (aten.flatten.using_ints, aten.reshape.default, aten.view.default, aten.contiguous.default)


def fold_batch_norms(captured: Captured) -> Captured:
    """Return an equal network without the batch norms that a neighbour can absorb; the others stay."""
    graph = copy_graph(captured.graph)
    folder = _Folder(graph, dict(captured.constants), set(captured.trainable))
    for node in list(graph.nodes):
        if node.target == aten.batch_norm.default:
            folder.fold(node)
    _drop_round_trips(graph)
    graph.eliminate_dead_code()
    used = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    constants = {name: tensor for name, tensor in folder.constants.items() if name in used}
    return replace(captured, graph=graph, constants=constants, trainable=frozenset(folder.trainable & used))


class _Folder:
    """Rewrites one graph; keeps the new tensors in ``constants``."""

    def __init__(self, graph: fx.Graph, constants: dict[str, Tensor], trainable: set[str]) -> None:
        self.graph = graph
        self.constants = constants
        self.trainable = trainable
        self.uses = Counter(str(node.target) for node in graph.nodes if node.op == "get_attr" for _ in node.users)

    def fold(self, norm: fx.Node) -> None:
        scale, shift = self._affine(norm)
        producer = _producer(norm, len(scale))
        if producer is not None:
            self._scale_outputs(producer, scale, shift)
        elif norm.users and all(_reads_directly(user, norm) for user in norm.users):
            for user in list(norm.users):
                self._scale_inputs(user, scale, shift)
        else:
            return
        source = norm.args[0]
        assert isinstance(source, fx.Node)
        norm.replace_all_uses_with(source)
        self.graph.erase_node(norm)

    def _tensor(self, node: object) -> Tensor | None:
        return self.constants[str(node.target)].double() if isinstance(node, fx.Node) else None

    def _affine(self, norm: fx.Node) -> tuple[Tensor, Tensor]:
        weight, bias, mean, variance = (self._tensor(argument) for argument in norm.args[1:5])
        assert mean is not None
        assert variance is not None
        scale = 1 / torch.sqrt(variance + float(norm.args[7]))  # type: ignore[arg-type]
        scale = scale * weight if weight is not None else scale
        shift = -mean * scale + (bias if bias is not None else 0.0)
        return scale, shift

    def _scale_outputs(self, node: fx.Node, scale: Tensor, shift: Tensor) -> None:
        weight, bias = self._tensor(node.args[1]), self._tensor(node.args[2] if len(node.args) > 2 else None)
        assert weight is not None
        weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        self._write(node, weight, shift if bias is None else bias * scale + shift)

    def _scale_inputs(self, node: fx.Node, scale: Tensor, shift: Tensor) -> None:
        weight, bias = self._tensor(node.args[1]), self._tensor(node.args[2] if len(node.args) > 2 else None)
        assert weight is not None
        offset = weight @ shift
        self._write(node, weight * scale, offset if bias is None else bias + offset)

    def _write(self, node: fx.Node, weight: Tensor, bias: Tensor) -> None:
        """Replace the weight and bias of a convolution or linear operation."""
        arguments = list(node.args) + [None] * (3 - len(node.args))
        weight_node = arguments[1]
        assert isinstance(weight_node, fx.Node)
        stem = str(weight_node.target).removesuffix(".weight")
        if self.uses[str(weight_node.target)] > 1:  # tied weights: this user gets its own copy
            stem = f"{stem}.{node.name}"
        arguments[1] = self._constant(node, f"{stem}.weight", weight)
        arguments[2] = self._constant(node, f"{stem}.bias", bias)
        node.args = tuple(arguments)

    def _constant(self, before: fx.Node, name: str, value: Tensor) -> fx.Node:
        self.constants[name] = value.float().contiguous()
        self.trainable.add(name)
        self.uses[name] = 1
        with self.graph.inserting_before(before):
            node = self.graph.create_node("get_attr", name, name=name.replace(".", "_"))
        node.meta["val"] = self.constants[name]
        return node


def _producer(norm: fx.Node, channels: int) -> fx.Node | None:
    """The convolution or linear operation whose output only this norm reads, looking through plain reshapes."""
    node = norm.args[0]
    assert isinstance(node, fx.Node)
    reader = norm
    while node.target in _RESHAPES and _only_reader(node, reader):
        source = node.args[0]
        assert isinstance(source, fx.Node)
        if ops.shape_of(source)[-1:] != ops.shape_of(node)[-1:]:
            return None
        reader, node = node, source
    if node.target not in _PRODUCERS or not _only_reader(node, reader):
        return None
    if node.target != aten.linear.default and reader is not norm:
        return None
    weight = node.args[1]
    return node if isinstance(weight, fx.Node) and ops.shape_of(weight)[:1] == (channels,) else None


def _only_reader(node: fx.Node, reader: fx.Node) -> bool:
    """Whether only ``reader`` uses the values; ``reshape_as`` may still read the shape."""
    return all(user is reader or (user.target == aten.reshape_as.default and user.args[1] is node) for user in node.users)


def _reads_directly(user: fx.Node, norm: fx.Node) -> bool:
    return user.target == aten.linear.default and user.args[0] is norm and len(ops.shape_of(norm)) == 2


def _drop_round_trips(graph: fx.Graph) -> None:
    """``reshape_as(flatten(x), x)`` is ``x``: a folded norm of LeViT leaves it over."""
    for node in list(graph.nodes):
        if node.target != aten.reshape_as.default:
            continue
        inner, original = node.args
        if isinstance(inner, fx.Node) and inner.target in _RESHAPES and inner.args[0] is original:
            node.replace_all_uses_with(original)
            graph.erase_node(node)
