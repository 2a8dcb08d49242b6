"""Changes in place written as new tensors: a captured graph then says by its arrows alone which value is read where."""

from __future__ import annotations

from typing import Any

from torch import fx

from harness.graph import operations as ops

aten = ops.aten
# What writes a part back into a copy of the whole, by the operation that took the part out.
SCATTERS: dict[Any, Any] = {
    aten.slice.Tensor: aten.slice_scatter.default,
    aten.select.int: aten.select_scatter.default,
}


def functionalise(graph: fx.Graph) -> None:
    """Replace operations that change a tensor in place; later readers read the new value instead.

    A change of a part is written back into the whole where slices took it out. What is read through other views stays
    as it is, for the caller to refuse.
    """
    order = {node: index for index, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        target = ops.functional(node.target)
        if target is None:
            continue
        parts = _parts(node.args[0])
        if not _is_read_besides(node, [node.args[0]], order):
            parts = []
        elif not parts or _is_read_besides(node, [*parts, parts[-1].args[0]], order):
            continue
        changed = node.args[0]
        _compute_anew(node, target)
        _read_instead(changed, node, order)
        _write_back(graph, node, parts, order)


def _compute_anew(node: fx.Node, target: Any) -> None:
    if node.target == aten.copy_.default and _type_of(node.args[0]) == _type_of(node.args[1]):
        node.target, node.args = aten.expand_as.default, (node.args[1], node.args[0])
    else:
        node.target = target


def _type_of(node: Any) -> Any:
    return getattr(node.meta.get("val"), "dtype", None) if isinstance(node, fx.Node) else type(node)


def _parts(node: Any) -> list[fx.Node]:
    """The slices through which ``node`` is a part of a tensor, the innermost first."""
    found: list[fx.Node] = []
    while node.target in SCATTERS:
        found.append(node)
        node = node.args[0]
    return found


def _is_read_besides(node: fx.Node, followed: list[Any], order: dict[fx.Node, int]) -> bool:
    """Whether what an in-place operation changes is read after it through a view that nobody follows."""
    whole = node.args[0]
    assert isinstance(whole, fx.Node)
    while ops.is_view(whole) and isinstance(whole.args[0], fx.Node):
        whole = whole.args[0]
    views, found = [whole], False
    while views:
        view = views.pop()
        views += [user for user in view.users if ops.is_view(user) and order[user] < order[node]]
        later = any(order[user] > order[node] and not ops.is_symbolic(user) for user in view.users)
        found |= later and view not in followed
    return found


def _read_instead(before: Any, after: fx.Node, order: dict[fx.Node, int]) -> None:
    """Readers that come after ``after`` read it."""
    before.replace_all_uses_with(after, delete_user_cb=lambda user: order[user] > order[after])


def _write_back(graph: fx.Graph, node: fx.Node, parts: list[fx.Node], order: dict[fx.Node, int]) -> None:
    value = node
    for part in parts:
        whole = part.args[0]
        assert isinstance(whole, fx.Node)
        with graph.inserting_after(value):
            value = graph.call_function(SCATTERS[part.target], (whole, value, *part.args[1:]), dict(part.kwargs))
        value.meta = {**node.meta, "val": whole.meta.get("val")}
        order[value] = order[node]
        _read_instead(whole, value, order)
