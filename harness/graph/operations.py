"""The vocabulary of captured networks: which ATen operation is arithmetic and which only moves values.

An arithmetic operation computes new values, so its output can get a quantizer. A structural operation copies, selects
or scales values by a constant, so its output carries the quantizer of its input. Any other operation is refused.
"""

from __future__ import annotations

import operator
from enum import StrEnum
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten


class Kind(StrEnum):
    """What a site's tensor is the output of."""

    INPUT = "input"
    CONSTANT = "constant"
    CONV = "conv"
    LINEAR = "linear"
    MATMUL = "matmul"
    SOFTMAX = "softmax"
    LAYER_NORM = "layer_norm"
    AFFINE = "affine"
    ACTIVATION = "activation"
    ADD = "add"
    MUL = "mul"
    MEAN = "mean"
    CAT = "cat"
    WEIGHT = "weight"


ARITHMETIC: dict[Any, Kind] = {
    aten.conv2d.default: Kind.CONV,
    aten.conv2d.padding: Kind.CONV,
    aten.conv1d.default: Kind.CONV,
    aten.linear.default: Kind.LINEAR,
    aten.matmul.default: Kind.MATMUL,
    aten.bmm.default: Kind.MATMUL,
    aten.softmax.int: Kind.SOFTMAX,
    aten.layer_norm.default: Kind.LAYER_NORM,
    aten.batch_norm.default: Kind.AFFINE,
    aten.group_norm.default: Kind.AFFINE,
    aten.gelu.default: Kind.ACTIVATION,
    aten.relu.default: Kind.ACTIVATION,
    aten.relu6.default: Kind.ACTIVATION,
    aten.hardtanh.default: Kind.ACTIVATION,
    aten.silu.default: Kind.ACTIVATION,
    aten.hardswish.default: Kind.ACTIVATION,
    aten.hardsigmoid.default: Kind.ACTIVATION,
    aten.sigmoid.default: Kind.ACTIVATION,
    aten.tanh.default: Kind.ACTIVATION,
    aten.leaky_relu.default: Kind.ACTIVATION,
    aten.add.Tensor: Kind.ADD,
    aten.sub.Tensor: Kind.ADD,
    aten.mul.Tensor: Kind.MUL,
    aten.div.Tensor: Kind.MUL,
    aten.mean.dim: Kind.MEAN,
    aten.adaptive_avg_pool2d.default: Kind.MEAN,
    aten.avg_pool2d.default: Kind.MEAN,
    aten.cat.default: Kind.CAT,
}

STRUCTURAL: frozenset[Any] = frozenset(
    {
        operator.getitem,
        aten.reshape.default,
        aten.reshape_as.default,
        aten.view.default,
        aten.permute.default,
        aten.transpose.int,
        aten.flatten.using_ints,
        aten.unflatten.int,
        aten.expand.default,
        aten.expand_as.default,
        aten.contiguous.default,
        aten.clone.default,
        aten.unbind.int,
        aten.split.Tensor,
        aten.split_with_sizes.default,
        aten.chunk.default,
        aten.select.int,
        aten.slice.Tensor,
        aten.index.Tensor,
        aten.index_select.default,
        aten.pad.default,
        aten.constant_pad_nd.default,
        aten.roll.default,
        aten.flip.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.unsqueeze.default,
        aten.max_pool2d.default,
        aten.movedim.int,
        aten.adaptive_max_pool2d.default,
    }
)

# Activations that hardware fuses into the operation before them: the value in between is never stored, so it has no site
# (FQ-ViT quantizes after GELU only; ReLU only clips).
FUSED_ACTIVATIONS: frozenset[Any] = frozenset(
    {aten.gelu.default, aten.relu.default, aten.relu6.default, aten.silu.default, aten.leaky_relu.default}
)

# In-place operations and what computes the same into a new tensor.
IN_PLACE: dict[Any, Any] = {
    aten.relu_.default: aten.relu.default,
    aten.add_.Tensor: aten.add.Tensor,
    aten.mul_.Tensor: aten.mul.Tensor,
    aten.hardswish_.default: aten.hardswish.default,
    aten.hardsigmoid_.default: aten.hardsigmoid.default,
    aten.hardtanh_.default: aten.hardtanh.default,
    aten.relu6_.default: aten.relu6.default,
    aten.silu_.default: aten.silu.default,
    aten.sigmoid_.default: aten.sigmoid.default,
    aten.leaky_relu_.default: aten.leaky_relu.default,
}

# Identities in evaluation mode.
DROPPED: frozenset[Any] = frozenset(
    {
        aten.dropout.default,
        aten.dropout_.default,
        aten.feature_dropout.default,
        aten.alias.default,
        aten.lift_fresh_copy.default,
        aten.detach.default,
        aten.detach_.default,
    }
)

# Operations that keep a part of a tensor, for example the class token.
SELECTING: frozenset[Any] = frozenset({aten.select.int, aten.slice.Tensor})


def tensor_inputs(node: fx.Node) -> list[fx.Node]:
    """The nodes this one reads, in argument order, without symbolic integers."""
    return [source for source in node.all_input_nodes if not is_symbolic(source)]


def is_symbolic(node: fx.Node) -> bool:
    """Whether the node yields an integer (a batch size) rather than a tensor."""
    return isinstance(node.meta.get("val"), torch.SymInt | int)


def module_path(node: fx.Node) -> str:
    """Dotted path of the innermost module that ran this operation; empty for the network itself."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if isinstance(path, str)]
    return paths[-1] if paths else ""


def shape_of(node: fx.Node) -> tuple[Any, ...]:
    """The node's shape as traced, a symbolic batch size in front; empty for lists of tensors."""
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()
