"""Capture a network with ``torch.export`` and tidy its graph: no dropout, no in-place operation, constants folded.

The captured graph computes bit for bit what the model computes; folding batch normalisation (``fold.py``) comes later.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from harness.errors import CaptureError
from harness.graph import operations as ops
from harness.graph.inlining import inline_regions
from harness.graph.mutation import functionalise


@dataclass(frozen=True)
class Captured:
    """A network as one graph of ATen operations.

    Attributes:
        graph: One placeholder (images ``(n, c, h, w)``), one output (logits ``(n, classes)``).
        constants: Tensors by the name of their ``get_attr`` node's target; parameters keep the model's names.
        trainable: Names of constants that are, or were computed from, parameters (not only buffers).
        input_size: ``(channels, height, width)``.
    """

    graph: fx.Graph
    constants: dict[str, Tensor]
    trainable: frozenset[str]
    input_size: tuple[int, int, int]

    def module(self) -> fx.GraphModule:
        """An executable module of the graph; shares its constants."""
        root = nn.Module()
        graph = copy_graph(self.graph)
        for node in graph.nodes:
            if node.op == "get_attr":
                node.target = flat_name(str(node.target))
        for name, tensor in self.constants.items():
            root.register_buffer(flat_name(name), tensor)
        return fx.GraphModule(root, graph)


def copy_graph(graph: fx.Graph) -> fx.Graph:
    """A copy of ``graph`` that belongs to no module, so that names of tensors need not be attributes."""
    copy = fx.Graph()
    mapping: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        mapping[node] = copy.node_copy(node, lambda source: mapping[source])
    return copy


def flat_name(name: str) -> str:
    """An attribute name without dots for a dotted tensor name."""
    return name.replace(".", "__")


def capture(network: nn.Module, input_size: tuple[int, int, int]) -> Captured:
    """Trace ``network`` (in evaluation mode) with a dynamic batch size.

    Args:
        network: A classifier of images ``(n, c, h, w)`` that returns logits ``(n, classes)``.
        input_size: ``(c, h, w)``.

    Raises:
        CaptureError: ``torch.export`` cannot trace the network, or it has an operation that cannot run as captured.
    """
    module, parameters = _export(network.eval(), input_size)
    inline_regions(module)
    graph = copy_graph(module.graph)
    constants: dict[str, Tensor] = {}
    for node in list(graph.nodes):
        if node.op == "get_attr":
            constants[str(node.target)] = _tensor(module, node).detach()
    _drop_guards(graph)
    functionalise(graph)
    _drop_identities(graph)
    trainable = _fold_constants(graph, constants, parameters)
    graph.eliminate_dead_code()
    _check_operations(graph)
    used = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    constants = {name: tensor for name, tensor in constants.items() if name in used}
    return Captured(graph, constants, frozenset(trainable & used), input_size)


FUSED_HINT = "write softmax and both matrix products out in the network's code: sites between them must be visible"
SINGLE_HINT = "write the network's code without calls of whole graphs (conditions, loops, mixed precision)"
IN_PLACE_HINT = "write the network's code so that the changed tensor is a new one"
RANDOM_HINT = "a network in evaluation mode must compute the same for the same images"


@contextmanager
def _open_attention(network: nn.Module) -> Iterator[None]:
    """Attention of timm without the fused kernel, which hides the softmax and both matrix products; as before afterwards."""
    fused: list[Any] = [module for module in network.modules() if getattr(module, "fused_attn", False) is True]
    for module in fused:
        module.fused_attn = False
    try:
        yield
    finally:
        for module in fused:
            module.fused_attn = True


def _export(network: nn.Module, input_size: tuple[int, int, int]) -> tuple[fx.GraphModule, set[str]]:
    device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
    images = torch.zeros(2, *input_size, device=device)
    try:
        with torch.no_grad(), _open_attention(network):
            program = torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except Exception as error:  # torch.export raises many unrelated types; each means "cannot be captured"
        first = str(error).strip().split("\n")[0][:300]
        raise CaptureError(
            f"torch.export cannot capture {type(network).__name__}: {type(error).__name__}: {first}",
            hint="the network must be traceable without data-dependent control flow and with a free batch size",
        ) from error
    module = program.module()
    assert isinstance(module, fx.GraphModule)
    return module, {name for name, _ in network.named_parameters(remove_duplicate=False)}


def _tensor(module: nn.Module, node: fx.Node) -> Tensor:
    value: Any = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    if not isinstance(value, Tensor):
        user = next(iter(node.users), node)
        reason = f"reads {node.target}, a {type(value).__name__}, so it is no single tensor operation"
        raise CaptureError(f"operation {user.target} {reason}", hint=SINGLE_HINT)
    return value


def _drop_guards(graph: fx.Graph) -> None:
    """Checks of shapes, types and values compute nothing."""
    for node in list(graph.nodes):
        if node.op == "call_function" and str(node.target).startswith("aten._assert") and not node.users:
            graph.erase_node(node)
            continue
        if node.op == "call_module":
            if node.users:
                raise CaptureError(f"the captured graph calls the opaque module {node.target}")
            graph.erase_node(node)


def _drop_identities(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        if node.target in ops.DROPPED or _is_identity_pad(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def _is_identity_pad(node: fx.Node) -> bool:
    return node.target == ops.aten.pad.default and not any(cast(Sequence[int], node.args[1]))


def _fold_constants(graph: fx.Graph, constants: dict[str, Tensor], parameters: set[str]) -> set[str]:
    """Compute what does not depend on the images once; a result is trainable when any of its sources is."""
    trainable = {name for name in constants if name in parameters}
    fixed: dict[fx.Node, Any] = {}
    tainted: dict[fx.Node, bool] = {}
    for node in list(graph.nodes):
        if node.op == "get_attr":
            fixed[node], tainted[node] = constants[str(node.target)], str(node.target) in trainable
        elif node.op == "call_function" and all(source in fixed for source in node.all_input_nodes):
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda source: fixed[source])
            fixed[node] = node.target(*args, **kwargs)
            tainted[node] = any(tainted[source] for source in node.all_input_nodes)
    for node in list(graph.nodes):
        leaves = node.op == "call_function" and any(user not in fixed for user in node.users)
        if leaves and isinstance(fixed.get(node), Tensor):
            name = _fold(graph, node, fixed[node], constants)
            trainable |= {name} if tainted[node] else set()
    return trainable


def _fold(graph: fx.Graph, node: fx.Node, value: Tensor, constants: dict[str, Tensor]) -> str:
    """Replace ``node`` by the computed value; returns the constant's name, after its first source."""
    source = node
    while source.op != "get_attr" and source.all_input_nodes:
        source = source.all_input_nodes[0]
    name = f"{source.target if source.op == 'get_attr' else 'constant'}.{node.name}"
    constants[name] = value.contiguous()
    with graph.inserting_before(node):
        replacement = graph.create_node("get_attr", name, name=f"folded_{node.name}")
    replacement.meta = dict(node.meta)
    node.replace_all_uses_with(replacement)
    return name


def _check_operations(graph: fx.Graph) -> None:
    """Refuse what cannot run as captured; anything else can, known or not."""
    for node in graph.nodes:
        reason, hint = _obstacle(node) if node.op == "call_function" and not ops.is_symbolic(node) else ("", "")
        if reason:
            where = ops.module_path(node) or "top level"
            raise CaptureError(f"operation {node.target} (in module {where!r}) {reason}", hint=hint)


def _obstacle(node: fx.Node) -> tuple[str, str]:
    """Why an operation cannot run as captured, and what to do; two empty strings where it can."""
    if "scaled_dot_product" in str(node.target):
        return "is not understood", FUSED_HINT
    if not isinstance(node.target, torch._ops.OpOverload):
        return ("", "") if node.target is operator.getitem else ("is no single tensor operation", SINGLE_HINT)
    if node.target._schema.is_mutable:
        return "changes a tensor in place that is read elsewhere too", IN_PLACE_HINT
    if torch.Tag.nondeterministic_seeded in node.target.tags and not _is_evaluation(node):
        return "draws random numbers", RANDOM_HINT
    return "", ""


def _is_evaluation(node: fx.Node) -> bool:
    """Whether an operation that draws random numbers in training (an LSTM's dropout) is told not to train."""
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    return given.get("train", given.get("training")) is False
