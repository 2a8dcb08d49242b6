"""How a product gets its operands: from which quantizer's place, through which operations that only move values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import fx

from harness.graph import operations as ops

aten = ops.aten

# They copy and pick elements: what lies on a grid before lies on it after.
MOVING = ops.STRUCTURAL - {aten.pad.default, aten.constant_pad_nd.default}
PADDING = frozenset({aten.pad.default, aten.constant_pad_nd.default})
SCALING = frozenset({aten.mul.Tensor, aten.div.Tensor})


@dataclass(frozen=True)
class Route:
    """The way from a value's or constant's site to a product that reads it.

    Attributes:
        site: Name of the site; empty where there is none.
        factor: What the value is multiplied with on the way (attention's scaling).
        pads: Zeros are added on the way.
        obstacle: An operation on the way that leaves no grid; empty for none.
        crosses: Name of the segment whose output the value is on the way; empty for none.
    """

    site: str = ""
    factor: float = 1.0
    pads: bool = False
    obstacle: str = ""
    crosses: str = ""


@dataclass(frozen=True)
class Read:
    """One operand of a product.

    Attributes:
        own: Name of the site right before the product; empty where there is none.
        route: Where its values come from.
        rank: Number of its axes.
    """

    own: str = ""
    route: Route = field(default_factory=Route)
    rank: int = 0


def route_of(node: fx.Node, site_of: Callable[[fx.Node], str], segment_of: dict[str, str], home: str) -> Route:
    """Look back from an operand to the site it carries.

    Args:
        node: The operand.
        site_of: Name of the site right after a node; empty where there is none.
        segment_of: Name of the segment that computes a node, by the node's name.
        home: Name of the segment of the product.
    """
    route = Route()
    while True:
        if segment_of.get(node.name, home) != home and not route.crosses:
            route = replace(route, crosses=segment_of[node.name])
        site = site_of(node)
        sources = [source for source in ops.tensor_inputs(node) if source.op != "get_attr"]
        if site or not sources or ops.kind_of(node) is ops.Kind.OTHER:  # what comes out of it carries nothing
            return replace(route, site=site)
        route, node = _before(route, node), sources[0]


def _before(route: Route, node: fx.Node) -> Route:
    """The route with one more operation in front."""
    if node.target in MOVING:
        return route
    other = node.args[1] if len(node.args) > 1 else None
    if node.target in SCALING and isinstance(other, int | float) and other:
        times = route.factor / other if node.target == aten.div.Tensor else route.factor * other
        return replace(route, factor=times)
    if node.target in PADDING and not {*node.args[2:], *node.kwargs.values()} - {"constant", None, 0}:
        return replace(route, pads=True)
    return replace(route, obstacle=str(getattr(node.target, "__name__", node.target)).partition(".")[0])
