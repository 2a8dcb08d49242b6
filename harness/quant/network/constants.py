"""Constants of a network, which transforms can replace."""

from __future__ import annotations

from torch import Tensor, nn

from harness.quant.network.runtime import Runtime


class Constant(nn.Module):
    """The place of a constant: its own value, or what a transform put there.

    Args:
        runtime: Shared state.
        node: Name of the constant's node, key of what replaces it.
    """

    def __init__(self, runtime: Runtime, node: str) -> None:
        super().__init__()
        self.runtime = runtime
        self.node = node

    def forward(self, value: Tensor) -> Tensor:
        """The network's own value where transforms do not act."""
        return self.runtime.edits.replaced_constants.get(self.node, value) if self.runtime.acts else value
