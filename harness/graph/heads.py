"""Channels of attention heads that an orthogonal matrix can turn: values and what reads them, queries and keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from harness.graph.bases import Basis, Use
from harness.graph.operations import Kind, kind_of
from harness.graph.streams import is_weighted


@dataclass(frozen=True)
class HeadChannels:
    """Where the channels of each head stand in the weight of a linear operation.

    Attributes:
        node: The operation's node.
        channels: Row numbers (outputs) or column numbers (inputs) of its weight, ``(heads, channels of a head)``.
        outputs: Whether they are outputs.
    """

    node: str
    channels: Tensor
    outputs: bool


@dataclass(frozen=True)
class HeadPair:
    """Two places where one matrix per head cancels out.

    Attributes:
        kind: ``values`` (with the operation that reads what attention gives) or ``scores`` (queries with keys).
        first: Where values, or queries, are written.
        second: Where attention's output is read, or keys are written.
    """

    kind: str
    first: HeadChannels
    second: HeadChannels


def head_pairs(bases: Iterable[Basis]) -> list[HeadPair]:
    """Every pair of a network, in execution order of its products."""
    found = list(bases)
    written = {writer: basis for basis in found for writer in basis.writers}
    products = [node for node in written if kind_of(node) is Kind.MATMUL]
    pairs = [_pair(product, found, written) for product in products]
    return [pair for pair in pairs if pair is not None]


def _pair(product: fx.Node, found: list[Basis], written: dict[fx.Node, Basis]) -> HeadPair | None:
    left, right = (_operand(product, number, found) for number in (0, 1))
    if left is None or right is None:
        return None
    if all(kind_of(node) is Kind.SOFTMAX for node in left[0].writers):
        first, second = _written_heads(*right, axis=-1), _read_heads(written[product])
        return None if first is None or second is None else _matched(HeadPair("values", first, second))
    queries, keys = _written_heads(*left, axis=-1), _written_heads(*right, axis=-2)
    return None if queries is None or keys is None else _matched(HeadPair("scores", queries, keys))


def _matched(pair: HeadPair) -> HeadPair | None:
    return pair if pair.first.channels.shape == pair.second.channels.shape else None


def _operand(product: fx.Node, number: int, found: list[Basis]) -> tuple[Basis, Use] | None:
    for basis in found:
        for use in basis.uses:
            if use.node is product and use.argument == number:
                return basis, use
    return None


def _written_heads(basis: Basis, use: Use, axis: int) -> HeadChannels | None:
    """Outputs of the one linear operation that an operand ``(n, heads, tokens, channels)`` comes from."""
    labels = use.labels.movedim(axis, -1)
    if labels.ndim != 4 or len(basis.writers) != 1 or basis.constants or not is_weighted(basis.writers[0]):
        return None
    channels = labels[0, :, 0]
    same = bool((labels == channels[:, None]).all()) and len(channels.unique()) == channels.numel()
    others = [torch.isin(channels, one.labels.unique()).any() for one in basis.uses if one is not use]
    if not same or any(others) or int(channels.min()) < 1:
        return None
    return HeadChannels(basis.writers[0].name, channels.long() - 1, outputs=True)


def _read_heads(output: Basis) -> HeadChannels | None:
    """Inputs of the one linear operation that reads an attention's output."""
    if len(output.uses) != 1 or len(output.writers) != 1 or output.constants:
        return None
    use, product = output.uses[0], output.writers[0]
    rows = use.labels.flatten(0, -2)
    if not is_weighted(use.node) or use.argument != 0 or kind_of(use.node) is not Kind.LINEAR:
        return None
    order = rows[0].argsort()
    expected = torch.arange(1, rows.shape[1] + 1, dtype=rows.dtype)
    if not (bool((rows == rows[0]).all()) and torch.equal(rows[0][order], expected)):
        return None
    value = product.meta["val"]
    return HeadChannels(use.node.name, order.reshape(int(value.shape[1]), -1), outputs=False)
