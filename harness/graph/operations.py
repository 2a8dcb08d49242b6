"""The vocabulary of captured networks: which ATen operation is arithmetic and which only moves values.

An arithmetic operation computes new values, so its output can get a quantizer. A structural operation copies, selects
or scales values by a constant, so its output carries the quantizer of its input. An operation that is listed nowhere is
arithmetic of kind ``other``: it runs as captured, and no quantizer is carried through it.
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
    OTHER = "other"
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
        aten.narrow.default,
        aten.squeeze.default,
        aten.view_as.default,
        aten.swapaxes.default,
        aten.moveaxis.int,
        aten.t.default,
        aten.repeat.default,
        aten.repeat_interleave.self_int,
        aten.split.sizes,
        aten.tensor_split.sections,
        aten.pixel_shuffle.default,
        aten.pixel_unshuffle.default,
        aten.channel_shuffle.default,
        aten.im2col.default,  # unfold: patches side by side, zeros around
        aten.gather.default,
        aten.to.dtype,
        aten.to.dtype_layout,
        aten.to.device,
        aten.type_as.default,
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


def kind_of(node: fx.Node) -> Kind | None:
    """What the operation computes; None where it computes no new values (structure, sizes, constants, the image)."""
    if node.op != "call_function" or is_symbolic(node):
        return None
    if node.target is operator.getitem:
        source = node.args[0]
        return Kind.OTHER if isinstance(source, fx.Node) and kind_of(source) is Kind.OTHER else None
    if node.target in STRUCTURAL:
        return None
    return ARITHMETIC.get(node.target, Kind.OTHER)


def is_value(node: fx.Node) -> bool:
    """Whether the node yields real numbers for every image: a floating-point tensor with the batch in front.

    Masks, indices, pairs of tensors and tables that belong to no image are computed and used, but never quantized.
    """
    shape = shape_of(node)
    return len(shape) > 1 and isinstance(shape[0], torch.SymInt) and node.meta["val"].is_floating_point()


def is_batch(node: fx.Node) -> bool:
    """Whether the node is a value with one row for each image, not several (windows, heads) in a row."""
    return is_value(node) and per_image(shape_of(node)[0]) == 1


def per_image(size: int | torch.SymInt) -> int | None:
    """How many a size counts for each image; None where it does not grow with the batch, or not in proportion."""
    if not isinstance(size, torch.SymInt):
        return None
    expression = size.node.expr
    symbols = list(expression.free_symbols)
    ratio = expression / symbols[0] if len(symbols) == 1 else None
    return int(ratio) if ratio is not None and ratio.is_Integer else None


def functional(target: Any) -> Any:
    """The operation that computes into a new tensor what ``target`` writes into its first argument; None if there is none.

    Operations that change nothing give None too.
    """
    if target in IN_PLACE:
        return IN_PLACE[target]
    if not isinstance(target, torch._ops.OpOverload) or not target._schema.is_mutable:
        return None
    packet = getattr(aten, target.overloadpacket.__name__.removesuffix("_"), None)
    found = getattr(packet, target._overloadname, None)
    return None if found is None or found._schema.is_mutable else found


def is_view(node: fx.Node) -> bool:
    """Whether what the node yields may share memory with its first argument."""
    if node.target is operator.getitem:
        return True
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    marks = [result.alias_info for result in node.target._schema.returns]
    return any(mark is not None and not mark.is_write for mark in marks)


def tensor_inputs(node: fx.Node) -> list[fx.Node]:
    """The nodes this one reads, in argument order, without symbolic integers."""
    return [source for source in node.all_input_nodes if not is_symbolic(source)]


def is_symbolic(node: fx.Node) -> bool:
    """Whether the node yields a number (a batch size) rather than a tensor."""
    return isinstance(node.meta.get("val"), torch.SymInt | torch.SymFloat | torch.SymBool | int | float)


def module_path(node: fx.Node) -> str:
    """Dotted path of the innermost module that ran this operation; empty for the network itself."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if isinstance(path, str)]
    return paths[-1] if paths else ""


def shape_of(node: fx.Node) -> tuple[Any, ...]:
    """The node's shape as traced, a symbolic batch size in front; empty for lists of tensors."""
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()
