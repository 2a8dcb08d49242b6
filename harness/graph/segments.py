"""Cut a captured network into a straight chain of segments, each reading one tensor of the one before.

A block is a segment that methods optimise as a unit: a transformer block, a residual block of a CNN. Blocks are found
by the module paths that the operations came from; the pieces between them become segments of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import fx

from harness.graph import operations as ops
from harness.graph.capture import Captured


@dataclass(frozen=True)
class Span:
    """A run of graph nodes that becomes one segment.

    Attributes:
        name: Module path of the block, or ``stem``, ``middle_<n>``, ``head``.
        nodes: Its nodes in order, constants and symbolic integers left out.
        is_block: Whether methods optimise it as a unit.
    """

    name: str
    nodes: tuple[fx.Node, ...]
    is_block: bool


def cut(captured: Captured, pattern: str) -> list[Span]:
    """Cut the graph at block borders where exactly one tensor is alive.

    Args:
        captured: The network.
        pattern: Regular expression that a block's module path ends with.
    """
    nodes = [n for n in captured.graph.nodes if n.op == "call_function" and not ops.is_symbolic(n)]
    labels = [_block_of(node, re.compile(pattern)) for node in nodes]
    runs: list[tuple[str, list[fx.Node]]] = []
    for node, label in zip(nodes, labels, strict=True):
        if runs and runs[-1][0] == label:
            runs[-1][1].append(node)
        elif runs and not _single_tensor_alive(nodes, runs[-1][1][-1]):
            runs[-1] = (runs[-1][0] or label, [*runs[-1][1], node])
        else:
            runs.append((label, [node]))
    return _named(runs)


def _block_of(node: fx.Node, pattern: re.Pattern[str]) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    matches = [path for path, _ in stack.values() if isinstance(path, str) and pattern.search(path)]
    return matches[-1] if matches else ""


def _single_tensor_alive(nodes: list[fx.Node], last: fx.Node) -> bool:
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


def _named(runs: list[tuple[str, list[fx.Node]]]) -> list[Span]:
    spans: list[Span] = []
    for index, (label, nodes) in enumerate(runs):
        name = label or ("stem" if index == 0 else "head" if index == len(runs) - 1 else f"middle_{index}")
        spans.append(Span(name, tuple(nodes), bool(label)))
    return spans
