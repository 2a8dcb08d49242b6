"""Residual streams: values that blocks read through a LayerNorm and add to, and whether an orthogonal matrix can turn them.

A stream can be turned exactly when linear operations, convolutions and constants alone write to it, and when it is read by
them or by LayerNorms whose outputs they alone read: then the matrix, its inverse and the norms' gains fold into weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, fx

from harness.graph import operations as ops
from harness.graph.bases import Basis, Use, where
from harness.graph.operations import Kind

GROUPS = 6  # position of a convolution's number of groups among its arguments


@dataclass(frozen=True)
class NormRead:
    """A LayerNorm that reads a stream.

    Attributes:
        node: Name of its node.
        copies: How many tokens it normalises together (patch merging: four).
        readers: Nodes of the linear operations that read its output.
    """

    node: str
    copies: int
    readers: tuple[str, ...]


@dataclass(frozen=True)
class Stream:
    """A residual stream.

    Attributes:
        name: The first operation that writes to it.
        width: Number of its channels.
        writers: Nodes of the weighted operations that write to it.
        constants: Nodes of the constants that are part of it (position embedding, class token).
        norms: What reads it through a LayerNorm.
        readers: Nodes of the weighted operations that read it as it is.
        reason: Why it cannot be turned; empty where it can.
    """

    name: str
    width: int
    writers: tuple[str, ...]
    constants: tuple[str, ...]
    norms: tuple[NormRead, ...]
    readers: tuple[str, ...]
    reason: str = ""


def streams_of(bases: Iterable[Basis]) -> list[Stream]:
    """Every residual stream of a network, in execution order.

    Args:
        bases: All of the network's.
    """
    found = list(bases)
    written = {writer: basis for basis in found for writer in basis.writers}
    return [_stream(basis, written) for basis in found if _is_stream(basis)]


def _is_stream(basis: Basis) -> bool:
    several = len(basis.writers) + len(basis.constants) > 1
    return several and any(_is_norm(use) for use in basis.uses)


def _is_norm(use: Use) -> bool:
    return use.argument == 0 and use.node.target == ops.aten.layer_norm.default


def _stream(basis: Basis, written: dict[fx.Node, Basis]) -> Stream:
    reasons = [f"{where(node)} writes to it" for node in basis.writers if not is_weighted(node)]
    norms: list[NormRead] = []
    readers: list[str] = []
    for use in basis.uses:
        if _is_norm(use):
            norm, reason = _norm_read(use, basis, written[use.node])
            norms.append(norm)
        else:
            reason = _why_not_read(use, basis.width)
            readers.append(use.node.name)
        reasons += [reason] if reason else []
    return Stream(
        name=where(basis.writers[0]) if basis.writers else str(basis.constants[0].target),
        width=basis.width,
        writers=tuple(node.name for node in basis.writers),
        constants=tuple(node.name for node in basis.constants),
        norms=tuple(norms),
        readers=tuple(readers),
        reason=reasons[0] if reasons else "",
    )


def _norm_read(use: Use, stream: Basis, output: Basis) -> tuple[NormRead, str]:
    copies = _copies(use.labels, -1, stream.width)
    readers = tuple(one.node.name for one in output.uses)
    reasons = [] if copies and _over_last_axis(use.node) else [f"{where(use.node)} reads its channels in another order"]
    if len(output.writers) > 1 or output.constants:
        reasons.append(f"the output of {where(use.node)} is added to something")
    reasons += [reason for one in output.uses if (reason := _why_not_folded(one, output.width))]
    return NormRead(use.node.name, copies, readers), reasons[0] if reasons else ""


def _why_not_folded(use: Use, width: int) -> str:
    """Why a reader of a norm cannot take its gain and offset; empty where it can. Padding knows nothing of an offset."""
    linear = ops.kind_of(use.node) is Kind.LINEAR
    return _why_not_read(use, width) if linear else f"{where(use.node)} reads the output of a norm"


def _over_last_axis(node: fx.Node) -> bool:
    shape = node.args[1]
    return isinstance(shape, list | tuple) and len(shape) == 1


def _why_not_read(use: Use, width: int) -> str:
    """Why a reader cannot take the inverse matrix into its weight; empty where it can."""
    if not is_weighted(use.node) or use.argument != 0:
        return f"{where(use.node)} reads it channel by channel"
    axis = 1 if ops.kind_of(use.node) is Kind.CONV else -1
    return "" if _copies(use.labels, axis, width) else f"{where(use.node)} reads its channels in another order"


def is_weighted(node: fx.Node) -> bool:
    """Whether the node is a linear operation, or a convolution that mixes all channels, with a stored weight."""
    if ops.kind_of(node) not in (Kind.LINEAR, Kind.CONV):
        return False
    weight = node.args[1]
    if not isinstance(weight, fx.Node) or weight.op != "get_attr":
        return False
    groups = node.args[GROUPS] if len(node.args) > GROUPS else node.kwargs.get("groups", 1)
    return ops.kind_of(node) is Kind.LINEAR or (isinstance(groups, int) and groups == 1)


def _copies(labels: Tensor, axis: int, width: int) -> int:
    """How often all channels follow each other along an axis, in order, at every position; 0 where they do not."""
    rows = labels.movedim(axis, -1).flatten(0, -2)
    if rows.shape[1] % width:
        return 0
    parts = rows.reshape(len(rows), -1, width)
    expected = parts.new_tensor(range(1, width + 1))
    fits = (parts == expected).all(-1) | (parts == 0).all(-1)
    return parts.shape[1] if bool(fits.all()) else 0
