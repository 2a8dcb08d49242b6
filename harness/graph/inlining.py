"""Regions of a network that ``torch.export`` keeps as graphs of their own, written out where nothing depends on the border.

A region without gradients, or one where mixed precision is switched off, computes in a float32 network what it would compute
without the border.
"""

from __future__ import annotations

from typing import Any

from torch import fx

WITHOUT_MIXED_PRECISION, WITHOUT_GRADIENTS = "wrap_with_autocast", "wrap_with_set_grad_enabled"


def inline_regions(module: fx.GraphModule) -> None:
    """Write out every such region of a network's graph, and the regions in it; other calls of graphs stay."""
    waiting = list(module.graph.nodes)
    while waiting:
        node = waiting.pop()
        region = _region(node)
        if region is not None:
            waiting += _write_out(module, node, region)
            if not region.users:
                module.graph.erase_node(region)


def _region(node: fx.Node) -> fx.Node | None:
    """The argument that holds the region's graph; None for any other node."""
    name = getattr(node.target, "__name__", "") if node.op == "call_function" else ""
    if name == WITHOUT_MIXED_PRECISION and node.args[2] is False:
        found = node.args[4]
    elif name == WITHOUT_GRADIENTS:
        found = node.args[1]
    else:
        return None
    return found if isinstance(found, fx.Node) else None


def _write_out(module: fx.GraphModule, call: fx.Node, region: fx.Node) -> list[fx.Node]:
    """Replace a call by the operations of its region; returns these."""
    name = str(region.target)
    inner: Any = module.get_submodule(name)
    arguments = iter(call.args[list(call.args).index(region) + 1 :])
    mapping: dict[fx.Node, Any] = {}
    written: list[fx.Node] = []
    results: Any = ()
    with module.graph.inserting_before(call):
        for node in inner.graph.nodes:
            if node.op == "placeholder":
                mapping[node] = next(arguments)
            elif node.op == "output":
                results = fx.map_arg(node.args[0], lambda source: mapping[source])
            else:
                mapping[node] = module.graph.node_copy(node, lambda source: mapping[source])
                written.append(mapping[node])
                if node.op == "get_attr":
                    mapping[node].target = f"{name}.{node.target}"
    _use(call, results)
    return written


def _use(call: fx.Node, results: Any) -> None:
    """What read the call's results reads them where they are computed now."""
    if isinstance(results, fx.Node):
        call.replace_all_uses_with(results)
    for user in list(call.users):
        user.replace_all_uses_with(results[user.args[1]])
        call.graph.erase_node(user)
    call.graph.erase_node(call)
