"""Channel axes and sizes of traced tensors, followed through a captured graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import fx

from harness.graph import operations as ops
from harness.graph.operations import Kind

aten = ops.aten


def size_hint(size: int | torch.SymInt) -> int:
    """The traced value of a size, symbolic or not."""
    return int(size) if isinstance(size, int) else int(cast(int, size.node.hint))


def channel_axis(node: fx.Node, axes: dict[fx.Node, int]) -> int:
    """Axis of the channels in the node's output, followed from convolutions and linear operations through reshapes."""
    rank = len(ops.shape_of(node))
    kind = ops.ARITHMETIC.get(node.target)
    if kind is Kind.CONV:
        return 1
    if rank == 0 or kind in (Kind.LINEAR, Kind.LAYER_NORM, Kind.MATMUL, Kind.SOFTMAX):
        return max(rank - 1, 0)
    known = [source for source in ops.tensor_inputs(node) if source in axes and ops.shape_of(source)]
    if not known:
        return rank - 1
    source = known[0]
    return _moved_axis(node, source, axes[source], rank)


def _moved_axis(node: fx.Node, source: fx.Node, axis: int, rank: int) -> int:
    before, after = ops.shape_of(source), ops.shape_of(node)
    axis %= len(before)
    if node.target == aten.permute.default:
        order = [index % rank for index in cast(Sequence[int], node.args[1])]
        return order.index(axis)
    if node.target == aten.transpose.int:
        first, second = (int(index) % rank for index in node.args[1:3])  # type: ignore[arg-type]
        return {first: second, second: first}.get(axis, axis)
    if rank == len(before) and size_hint(before[axis]) == size_hint(after[axis]):
        return axis
    if axis < rank and axis != len(before) - 1 and size_hint(before[axis]) == size_hint(after[axis]):
        return axis
    return rank - 1
