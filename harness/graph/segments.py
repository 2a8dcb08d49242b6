"""Cut a captured network into a straight chain of segments, each reading one tensor of the one before.

A block is a segment that methods optimise as a unit: a transformer block, a residual block of a CNN. Blocks are found
by the module paths that the operations came from; the pieces between them become segments of their own. Where paths do not
help, the network is cut wherever only one tensor is alive (``liveness.py``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import fx

from harness.graph import operations as ops
from harness.graph.capture import Captured
from harness.graph.liveness import WEIGHTED, common_path, single_tensor_alive, units

MANY = 2  # with fewer blocks than that, module paths did not help


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
    spans = _named(_labelled(nodes, re.compile(pattern)))
    if sum(span.is_block for span in spans) >= MANY:
        return spans
    found = units(nodes)
    return _by_liveness(found) if len(found) > len(spans) else spans


def _labelled(nodes: list[fx.Node], pattern: re.Pattern[str]) -> list[tuple[str, list[fx.Node]]]:
    """Runs of nodes with the same block's path; a border where more than one tensor is alive is none."""
    runs: list[tuple[str, list[fx.Node]]] = []
    for node in nodes:
        label = _block_of(node, pattern)
        if runs and runs[-1][0] == label:
            runs[-1][1].append(node)
        elif runs and not single_tensor_alive(nodes, runs[-1][1][-1]):
            runs[-1] = (runs[-1][0] or label, [*runs[-1][1], node])
        else:
            runs.append((label, [node]))
    return runs


def _block_of(node: fx.Node, pattern: re.Pattern[str]) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    matches = [path for path, _ in stack.values() if isinstance(path, str) and pattern.search(path)]
    return matches[-1] if matches else ""


def _named(runs: list[tuple[str, list[fx.Node]]]) -> list[Span]:
    spans: list[Span] = []
    for index, (label, nodes) in enumerate(runs):
        name = label or ("stem" if index == 0 else "head" if index == len(runs) - 1 else f"middle_{index}")
        spans.append(Span(name, tuple(nodes), bool(label)))
    return spans


def _by_liveness(found: list[list[fx.Node]]) -> list[Span]:
    """The first unit is the stem, the last one the head, what lies between are blocks, named by what they have in common."""
    spans = [Span("stem", tuple(found[0]), is_block=False)]
    taken = {"stem", "head"}
    for index, nodes in enumerate(found[1:-1], start=1):
        name = common_path([node for node in nodes if ops.kind_of(node) in WEIGHTED])
        name = name if name and name not in taken else f"{name or 'part'}_{index}"
        taken.add(name)
        spans.append(Span(name, tuple(nodes), is_block=True))
    return [*spans, Span("head", tuple(found[-1]), is_block=False)]
