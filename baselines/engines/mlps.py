"""The MLPs of a network: two linear operations with a GELU between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from harness.graph import operations as ops
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel

GELU = torch.ops.aten.gelu.default


@dataclass(frozen=True)
class Mlp:
    """One of them.

    Attributes:
        first: The linear operation before the activation function.
        second: The one behind it.
        activation: The function's graph node.
    """

    first: WeightedOperation
    second: WeightedOperation
    activation: fx.Node

    def function(self, x: Tensor) -> Tensor:
        """The network's own activation function."""
        found: Tensor = GELU(x, **self.activation.kwargs)
        return found


def mlps_of(model: QuantizedModel) -> dict[int, list[Mlp]]:
    """Every MLP by the index of its segment, in execution order."""
    operations = {one.node: one for one in model.weights.values() if one.weight.ndim == 2}
    found: dict[int, list[Mlp]] = {}
    for node in model.chain.captured.graph.nodes:
        if node.target != GELU:
            continue
        before, users = node.args[0], [user for user in node.users if not ops.is_symbolic(user)]
        if not isinstance(before, fx.Node) or len(users) != 1 or len(before.users) != 1:
            continue
        if before.name not in operations or users[0].name not in operations:
            continue
        first, second = operations[before.name], operations[users[0].name]
        index = model.segment_of(first.site.name)
        if index == model.segment_of(second.site.name):
            found.setdefault(index, []).append(Mlp(first, second, node))
    return found
