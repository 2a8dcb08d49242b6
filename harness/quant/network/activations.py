"""Activation functions whose last bits do not depend on where in a batch a value stands.

torch computes these with a vector's polynomial for most elements and another one for the rest of a row, or with oneDNN's;
``exp`` and ``erf`` are the same for every element. So with integer products the functions are put together from those.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harness.quant.format.arithmetic import blocks
from harness.quant.network.arithmetic_rule import switched_off
from harness.quant.network.integer_operations import wants_gradient
from harness.quant.network.runtime import Runtime

aten = torch.ops.aten


def gelu(x: Tensor) -> Tensor:
    """``x (1 + erf(x / sqrt 2)) / 2``."""
    found = torch.empty_like(x)
    for part, there in zip(blocks(x), blocks(found), strict=True):
        torch.mul(part, math.sqrt(0.5), out=there).erf_().add_(1.0).mul_(part).mul_(0.5)
    return found


def gelu_tanh(x: Tensor) -> Tensor:
    """``x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2``."""
    inner = torch.mul(x, x).mul_(0.044715).add_(1.0).mul_(x).mul_(math.sqrt(2 / math.pi))
    return inner.tanh_().add_(1.0).mul_(x).mul_(0.5)


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return torch.neg(x).exp_().add_(1.0).reciprocal_()


def silu(x: Tensor) -> Tensor:
    """``x / (1 + exp(-x))``."""
    return torch.div(x, torch.neg(x).exp_().add_(1.0))


def steady(target: Any, options: dict[str, Any]) -> Callable[[Tensor], Tensor] | None:
    """The form of an ATen activation that does not depend on places; None where ATen's own does not."""
    if target == aten.gelu.default:
        return gelu_tanh if options.get("approximate", "none") == "tanh" else gelu
    found: dict[Any, Callable[[Tensor], Tensor]] = {aten.silu.default: silu, aten.sigmoid.default: sigmoid}
    return found.get(target)


class Activation(nn.Module):
    """An activation function: ATen's own, or its steady form where products run on integers.

    Args:
        runtime: Shared state.
        target: The ATen operation.
        options: Its arguments by name.
        form: Its steady form.
        node: Name of its graph node, key of what replaces it by ReLU.
    """

    def __init__(
        self,
        runtime: Runtime,
        target: Callable[..., Tensor],
        options: dict[str, Any],
        form: Callable[[Tensor], Tensor],
        node: str,
    ) -> None:
        super().__init__()
        self.runtime = runtime
        self.node = node
        self.target = target
        self.options = options
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        """The function of every element; ReLU where a transform put it in its place."""
        if self.runtime.acts and self.node in self.runtime.edits.rectified:
            return torch.relu(x)
        if self.runtime.quantize and not switched_off(self.runtime) and not wants_gradient(x):
            return self.form(x)
        return self.target(x, **self.options)
