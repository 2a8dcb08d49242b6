"""How values flow through a captured network: which operation computed a tensor, and which ones read it."""

from __future__ import annotations

from torch import fx

from harness.graph import operations as ops
from harness.graph.operations import Kind


def is_arithmetic(node: fx.Node, trainable: frozenset[str]) -> bool:
    """Whether the node computes new values: scaling by a number, adding a mask and joining equals do not."""
    kind = ops.kind_of(node)
    if kind in (Kind.MUL, Kind.ADD):
        others = [source for source in ops.tensor_inputs(node) if source.op != "get_attr"]
        constants = [source for source in ops.tensor_inputs(node) if source.op == "get_attr"]
        if len(others) == 1 and not constants:
            return others[0] in node.args and node.args.count(others[0]) > 1  # x * x computes, 0.125 * x scales
        return len(others) > 1 or any(str(source.target) in trainable for source in constants)
    return kind is not None


def selected_tail(node: fx.Node) -> fx.Node:
    """The last of the token selections that alone read ``node``: only the selected tokens need a quantizer."""
    while len(node.users) == 1:
        (user,) = node.users
        if user.target not in ops.SELECTING:
            break
        node = user
    return node


def readers(node: fx.Node, trainable: frozenset[str]) -> list[fx.Node]:
    """The arithmetic nodes that read ``node``, looking through structural ones."""
    found: list[fx.Node] = []
    for user in node.users:
        if user.op == "output" or ops.is_symbolic(user):
            continue
        if is_arithmetic(user, trainable):
            found.append(user)
        else:
            found += readers(user, trainable)
    return found


def computed_by(node: fx.Node, trainable: frozenset[str]) -> fx.Node:
    """The arithmetic node (or the image) whose values ``node`` carries, looking back through structural operations.

    A constant where nothing else is read: a token that is repeated for every image.
    """
    while node.op == "call_function" and not is_arithmetic(node, trainable):
        sources = ops.tensor_inputs(node)
        node = next((source for source in sources if source.op != "get_attr"), sources[0])
    return node
