"""The one tensor that a span of operations reads, and the one that is read after it."""

from __future__ import annotations

from torch import fx

from harness.errors import CaptureError
from harness.graph import operations as ops
from harness.graph.segments import Span


def entering(span: Span) -> fx.Node:
    """The one tensor the span reads from outside.

    Raises:
        CaptureError: There are more or fewer.
    """
    inside = set(span.nodes)
    found = {
        source
        for node in span.nodes
        for source in ops.tensor_inputs(node)
        if source not in inside and source.op != "get_attr"
    }
    if len(found) != 1:
        raise CaptureError(f"segment {span.name} reads {len(found)} tensors, expected one")
    return found.pop()


def last_alive(span: Span) -> fx.Node:
    """The one node of the span that is read after it.

    Raises:
        CaptureError: There are more or fewer.
    """
    inside = set(span.nodes)
    alive = [node for node in span.nodes if any(user not in inside and not ops.is_symbolic(user) for user in node.users)]
    if len(alive) != 1:
        raise CaptureError(f"segment {span.name} yields {len(alive)} tensors, expected one")
    return alive[0]
