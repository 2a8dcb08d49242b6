"""The operations of one segment: what each reads and gives in the network, and one of them run outside of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from harness.graph.operations import Kind
from harness.machine.memory import Budget, Kept
from harness.quant.network.operators import MatMul, WeightedOperation
from harness.quant.network.qmodel import QuantizedModel

Operation = WeightedOperation | MatMul
Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]


def operations_of(module: nn.Module) -> dict[str, Operation]:
    """The convolutions, linear operations and matrix products of a segment, in execution order."""
    return {name: one for name, one in module.named_modules() if isinstance(one, WeightedOperation | MatMul)}


def is_scores(model: QuantizedModel, operation: Operation) -> bool:
    """Whether this is attention's product of queries and keys."""
    if isinstance(operation, WeightedOperation):
        return False
    left, right = (model.sites[side.name] for side in (operation.left, operation.right))
    return bool(left.attention) and Kind.SOFTMAX not in (left.kind, right.kind)


@contextmanager
def hooked(operations: dict[str, Operation], hook: Callable[[str], Hook]) -> Iterator[None]:
    """While the block runs, every operation calls its hook with what it read and gave.

    Args:
        operations: By name.
        hook: Makes the hook of an operation from its name.
    """
    handles = [operation.register_forward_hook(hook(name)) for name, operation in operations.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def observe(operations: dict[str, Operation], run: Callable[[], Tensor], budget: Budget) -> dict[str, Kept]:
    """What operations read and give in one forward pass, by name: inputs before their quantizers, the output last.

    Args:
        operations: By name.
        run: The forward pass.
        budget: Holds the tensors, until the caller lets go of them.
    """
    found: dict[str, Kept] = {}

    def hook(name: str) -> Hook:
        # Taps reuse the memory of values, so what is kept must be a copy.
        def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            found[name] = budget.keep(one.clone() for one in (*inputs, output))

        return keep

    with hooked(operations, hook):
        run()
    return found


def output_gradients(
    operations: dict[str, Operation],
    losses: Iterable[Callable[[], Tensor]],
    budget: Budget,
) -> dict[str, Kept]:
    """Gradients of losses with respect to what operations give, one tensor for each loss, by the operation's name.

    Args:
        operations: By name.
        losses: Each computes a scalar in a forward pass of its own.
        budget: Holds the tensors.
    """
    gradients = {name: budget.keep(()) for name in operations}
    for loss in losses:
        outputs: dict[str, Tensor] = {}
        with hooked(operations, partial(_retaining, outputs)), torch.enable_grad():
            loss().backward()
        for name, output in outputs.items():
            assert output.grad is not None
            budget.add(gradients[name], output.grad)
    return gradients


def _retaining(outputs: dict[str, Tensor], name: str) -> Hook:
    def retain(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        outputs[name] = output

    return retain


def output_of(model: QuantizedModel, module: Operation, inputs: Sequence[Tensor], *, quantize: bool = True) -> Tensor:
    """An operation outside the network, with its present quantizers or without.

    Args:
        model: The model.
        module: The operation.
        inputs: What it reads, before the operands' quantizers.
        quantize: Whether quantizers act; transforms do in either case.
    """
    quantizers = model.quantizers if quantize else {}
    if isinstance(module, WeightedOperation):
        x = quantizers[module.operand](inputs[0]) if module.operand in quantizers else inputs[0]
        if quantize:
            return module.function(x, module.quantized_weight(), module.shifted_bias())
        return module.function(x, module.present_weight, module.transformed_bias())
    sides = [
        quantizers[side.name](x) if side.name in quantizers else x
        for side, x in zip((module.left, module.right), inputs, strict=True)
    ]
    product: Tensor = module.function(*sides)
    return product
