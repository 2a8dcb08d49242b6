"""Which values of a network hold the same channels: the coordinates that an orthogonal matrix can turn, all together.

A value's channels are followed through everything that only moves, selects or averages them, through sums, and through
joining along another axis. To see where a channel goes, each value gets labels: a tensor of its shape that holds the
number of each element's channel, from 1 on, and 0 where zeros were filled in. What moves values moves labels alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, fx

from harness.graph import operations as ops
from harness.graph.axes import size_hint
from harness.graph.capture import Captured
from harness.graph.operations import Kind

aten = ops.aten
IMAGES = 2  # of the traced batch: sizes of labels are those of the trace
SUMS = (aten.add.Tensor, aten.sub.Tensor)
SCALINGS = (aten.mul.Tensor, aten.div.Tensor)


@dataclass(frozen=True)
class Use:
    """An operation that reads a value of a basis and computes other channels from it.

    Attributes:
        node: The operation; the graph's output too.
        argument: Which of its arguments.
        labels: Of what it reads.
    """

    node: fx.Node
    argument: int
    labels: Tensor


@dataclass(eq=False)
class Basis:
    """Values that hold the same channels.

    Attributes:
        width: Number of channels.
        writers: Operations that compute such values from other channels.
        constants: Constants among them.
        uses: What reads them.
        conflict: Where channels do not meet their like; empty where they all do.
    """

    width: int
    writers: list[fx.Node] = field(default_factory=list)
    constants: list[fx.Node] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    conflict: str = ""
    _joined: Basis | None = None

    @property
    def root(self) -> Basis:
        """What this basis has become part of."""
        return self if self._joined is None else self._joined.root

    def join(self, other: Basis) -> None:
        """Become one with another basis."""
        one, two = self.root, other.root
        if one is two:
            return
        one.writers += two.writers
        one.constants += two.constants
        one.uses += two.uses
        one.conflict = one.conflict or two.conflict
        two._joined = one


@dataclass(frozen=True)
class Carried:
    """What a node's value is made of: its basis and its labels."""

    basis: Basis
    labels: Tensor


def bases_of(captured: Captured) -> list[Basis]:
    """Every basis of a network, in execution order of its first writer."""
    follower = _Follower()
    with torch.no_grad():
        for node in captured.graph.nodes:
            follower.visit(node)
    return follower.bases()


def where(node: fx.Node) -> str:
    """An operation as it is called in messages, for example ``blocks.0.norm1:layer_norm``."""
    return f"{ops.module_path(node) or 'model'}:{ops.kind_of(node) or node.op}"


class _Follower:
    """Walks the graph once."""

    def __init__(self) -> None:
        self.carried: dict[fx.Node, Carried] = {}
        self.found: list[Basis] = []

    def bases(self) -> list[Basis]:
        return list(dict.fromkeys(basis.root for basis in self.found))

    def visit(self, node: fx.Node) -> None:
        if node.op == "get_attr":
            self.constant(node)
        elif node.op == "output":
            self.use_all(node)
        elif node.op == "call_function" and not ops.is_symbolic(node):
            self.operation(node)

    def operation(self, node: fx.Node) -> None:
        kind, sources = ops.kind_of(node), [one for one in ops.tensor_inputs(node) if one in self.carried]
        if kind is None or _scales(node):
            self.structure(node, sources)
        elif node.target in SUMS and len(sources) == len(node.args) == 2:
            self.joined(node, sources, torch.broadcast_tensors(*(self.carried[one].labels for one in sources)))
        elif node.target == aten.cat.default and sources:
            self.cat(node, sources)
        elif node.target == aten.mean.dim and sources:
            self.mean(node, sources[0])
        else:
            self.use_all(node)
            self.written(node, kind)

    def structure(self, node: fx.Node, sources: list[fx.Node]) -> None:
        """What moves, selects or scales by a number: labels go the same way."""
        if not sources:
            return
        try:
            labels = self.applied(node)
        except (RuntimeError, TypeError, ValueError, IndexError):  # an operation that does not take whole numbers
            labels = None
        if not isinstance(labels, Tensor | tuple | list) or len(sources) > 1:
            self.use_all(node)
            return
        self.carried[node] = Carried(self.carried[sources[0]].basis, labels)  # type: ignore[arg-type]

    def applied(self, node: fx.Node) -> Any:
        if _scales(node):
            return next(self.carried[one].labels for one in ops.tensor_inputs(node) if one in self.carried)
        args, kwargs = fx.map_arg((node.args, node.kwargs), self.value)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def value(self, node: fx.Node) -> Any:
        """An argument for labels: other labels, or a size at the traced batch."""
        if node in self.carried:
            return self.carried[node].labels
        value = node.meta["val"]
        return size_hint(value) if isinstance(value, int | torch.SymInt) else value

    def joined(self, node: fx.Node, sources: list[fx.Node], labels: tuple[Tensor, ...] | list[Tensor]) -> None:
        """A sum: both sides hold the same channels, or nothing can be turned."""
        one, two = (self.carried[source].basis for source in sources)
        known = torch.maximum(*labels)
        alike = all(bool(((own == known) | (own == 0)).all()) for own in labels)
        if not alike or one.root.width != two.root.width:
            self.use_all(node)
            self.written(node, Kind.ADD)
            return
        one.join(two)
        self.carried[node] = Carried(one, known)

    def cat(self, node: fx.Node, sources: list[fx.Node]) -> None:
        axis = cast(int, node.args[1]) if len(node.args) > 1 else 0
        bases = [self.carried[source].basis for source in sources]
        parts = node.args[0]
        if not isinstance(parts, list | tuple) or any(one not in self.carried for one in parts):
            self.use_all(node)
            self.written(node, Kind.CAT)
            return
        if len({basis.root.width for basis in bases}) > 1:
            self.use_all(node)
            self.written(node, Kind.CAT)
            return
        for basis in bases[1:]:
            bases[0].join(basis)
        labels = torch.cat([self.carried[one].labels for one in parts], axis)  # type: ignore[index]
        self.carried[node] = Carried(bases[0], labels)

    def mean(self, node: fx.Node, source: fx.Node) -> None:
        """A mean over tokens keeps channels apart."""
        labels, axes = self.carried[source].labels, list(node.args[1])  # type: ignore[arg-type]
        keep = bool(node.args[2]) if len(node.args) > 2 else bool(node.kwargs.get("keepdim", False))
        most = labels.amax(axes, keepdim=keep)
        if not torch.equal(most, labels.amin(axes, keepdim=keep)):
            self.use_all(node)
            self.written(node, Kind.MEAN)
            return
        self.carried[node] = Carried(self.carried[source].basis, most)

    def use_all(self, node: fx.Node) -> None:
        """Note what an operation reads, under the number of its argument."""
        for number, argument in enumerate(node.args):
            found: list[fx.Node] = []
            fx.map_arg(argument, found.append)
            for source in found:
                if source in self.carried:
                    held = self.carried[source]
                    for labels in (held.labels,) if isinstance(held.labels, Tensor) else held.labels:
                        held.basis.root.uses.append(Use(node, number, labels))

    def written(self, node: fx.Node, kind: Kind | None) -> None:
        """Channels of its own: a new basis."""
        shape = [size_hint(size) for size in ops.shape_of(node)]
        if len(shape) < 2:
            return
        labels = _heads(shape) if kind is Kind.MATMUL and len(shape) == 4 else _along(shape, 1 if kind is Kind.CONV else -1)
        self.carried[node] = Carried(self.new(int(labels.max())), labels)
        self.carried[node].basis.writers.append(node)

    def constant(self, node: fx.Node) -> None:
        """A constant holds the channels of what it is added to or joined with, along its last axis."""
        shape = [size_hint(size) for size in ops.shape_of(node)]
        value = node.meta.get("val")
        if not shape or not isinstance(value, Tensor) or not value.is_floating_point():
            return
        self.carried[node] = Carried(self.new(shape[-1]), _along(shape, -1))
        self.carried[node].basis.constants.append(node)

    def new(self, width: int) -> Basis:
        basis = Basis(width)
        self.found.append(basis)
        return basis


def _scales(node: fx.Node) -> bool:
    """Whether the node multiplies one tensor by a number."""
    return node.target in SCALINGS and not any(isinstance(one, fx.Node) for one in node.args[1:])


def _along(shape: list[int], axis: int) -> Tensor:
    """Numbers from 1 on along an axis."""
    sizes = [1] * len(shape)
    sizes[axis] = shape[axis]
    return torch.arange(1, shape[axis] + 1, dtype=torch.int32).reshape(sizes).expand(shape)


def _heads(shape: list[int]) -> Tensor:
    """Numbers from 1 on over heads and channels of an attention product ``(n, heads, tokens, channels)``."""
    _, heads, _, channels = shape
    numbers = torch.arange(1, heads * channels + 1, dtype=torch.int32)
    return numbers.reshape(1, heads, 1, channels).expand(shape)
