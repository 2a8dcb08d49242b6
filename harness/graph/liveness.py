"""Where a captured network can be cut: between two operations where only one tensor is still to be read."""

from __future__ import annotations

from itertools import takewhile

from torch import fx

from harness.graph import operations as ops
from harness.graph.operations import Kind

WEIGHTED = (Kind.CONV, Kind.LINEAR)


def single_tensor_alive(nodes: list[fx.Node], last: fx.Node) -> bool:
    """Whether exactly one tensor that was computed up to ``last`` is read after it, and the images are not.

    Args:
        nodes: All operations in order.
        last: One of them.
    """
    position = {node: index for index, node in enumerate(nodes)}
    border = position[last]
    alive = {
        node
        for node in nodes[: border + 1]
        if any(position.get(user, len(nodes)) > border for user in node.users if not ops.is_symbolic(user))
    }
    placeholder = next(n for n in nodes[0].graph.nodes if n.op == "placeholder")
    later_images = any(position.get(user, -1) > border for user in placeholder.users)
    return len(alive) == 1 and not later_images and bool(ops.shape_of(next(iter(alive))))


def units(nodes: list[fx.Node]) -> list[list[fx.Node]]:
    """The smallest pieces that read one tensor each, the batch in front, and own a weight; the rest joins the one before.

    A residual connection keeps two tensors alive, so what it spans is one unit. A plain chain of layers has a unit for each.
    The last unit begins at the last weight that can be cut off: the classifier.
    """
    pieces: list[list[fx.Node]] = [[]]
    for node, whole in zip(nodes, _cuts(nodes), strict=True):
        pieces[-1].append(node)
        if whole:
            pieces.append([])
    found: list[list[fx.Node]] = []
    for piece in pieces:
        if found and not (_owns_weight(piece) and any(_owns_weight(one) for one in found)):
            found[-1] += piece
        elif piece:
            found.append(piece)
    return found


def _cuts(nodes: list[fx.Node]) -> list[bool]:
    """For each node whether the network can be cut behind it; one pass over the graph."""
    position = {node: index for index, node in enumerate(nodes)}
    placeholder = next(n for n in nodes[0].graph.nodes if n.op == "placeholder")
    images = max((position.get(user, -1) for user in placeholder.users), default=-1)
    expiring: dict[int, list[fx.Node]] = {}
    alive: set[fx.Node] = set()
    cuts: list[bool] = []
    for index, node in enumerate(nodes):
        last = max((position.get(user, len(nodes)) for user in node.users if not ops.is_symbolic(user)), default=index)
        if last > index:
            alive.add(node)
            expiring.setdefault(last, []).append(node)
        alive.difference_update(expiring.pop(index, []))
        cuts.append(index > images and len(alive) == 1 and ops.is_batch(next(iter(alive))))
    return cuts


def _owns_weight(nodes: list[fx.Node]) -> bool:
    return any(ops.kind_of(node) in WEIGHTED for node in nodes)


def common_path(nodes: list[fx.Node]) -> str:
    """The innermost module path that all operations lie in; empty for the network itself."""
    paths = [ops.module_path(node).split(".") for node in nodes]
    levels = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return ".".join(parts[0] for parts in levels)
