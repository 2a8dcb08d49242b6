"""Values that are moved, and scaled by a number, after they were quantized: they still are codes times a scale."""

from __future__ import annotations

import torch
from torch import fx, nn

from harness.deploy.grids import ActivationGrid
from harness.deploy.layers import Pair, rescaled
from harness.quant.network.routes import MOVING

aten = torch.ops.aten


def rescale(graph: fx.Graph, root: nn.Module, entering: ActivationGrid | None) -> ActivationGrid | None:
    """Put a pair with the scaled step behind every scaling of quantized values by a number.

    Kernels of integers look for the pair right before their operation; a multiplication in between hides it. The codes are
    the same, so the values are.

    Args:
        graph: Of one segment; changed.
        root: Its modules; pairs are added.
        entering: Grid of what the segment reads.

    Returns:
        Grid of what it returns; None where that lies on none.
    """
    grids: dict[fx.Node, ActivationGrid | None] = {}
    for node in list(graph.nodes):
        if node.op == "placeholder":
            grids[node] = entering
        elif node.op == "call_module":
            grids[node] = _of_module(root.get_submodule(str(node.target)), node, grids)
        elif node.op == "call_function" and node.target in MOVING:
            grids[node] = grids.get(node.args[0])
        elif (factor := _factor(node)) is not None and (grid := grids.get(node.args[0])) is not None:
            _put_pair(graph, root, node, grid, factor, grids)
    output = next(node for node in graph.nodes if node.op == "output")
    return grids.get(output.args[0])


def _of_module(module: nn.Module, node: fx.Node, grids: dict[fx.Node, ActivationGrid | None]) -> ActivationGrid | None:
    if isinstance(module, nn.Identity):
        return grids.get(node.args[0])  # type: ignore[arg-type]
    return module.grid if isinstance(module, Pair) and module.grid.offset == 0 else None


def _factor(node: fx.Node) -> float | None:
    """The positive number that a node multiplies one tensor by; None for every other operation."""
    if node.op != "call_function" or node.target not in (aten.mul.Tensor, aten.div.Tensor):
        return None
    number = node.args[1]
    if not isinstance(number, int | float) or number <= 0:
        return None
    return float(number) if node.target == aten.mul.Tensor else 1 / float(number)


def _put_pair(
    graph: fx.Graph,
    root: nn.Module,
    node: fx.Node,
    grid: ActivationGrid,
    factor: float,
    grids: dict[fx.Node, ActivationGrid | None],
) -> None:
    """Replace a scaling by a pair."""
    pair, after = rescaled(grid, factor)
    name = f"scaled_{node.name}"
    root.add_module(name, pair)
    with graph.inserting_before(node):
        written = graph.call_module(name, (node.args[0],))
    node.replace_all_uses_with(written)
    graph.erase_node(node)
    grids[written] = after
