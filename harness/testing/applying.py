"""What the kits share: methods with their quick settings, applied step by step, and models compared by their bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.method import registry, stack
from harness.method.base import Context
from harness.method.registration import Role
from harness.method.stack import Stack, StackStep, check
from harness.method.widths import present_bits
from harness.quant.network.qmodel import QuantizedModel
from harness.quant.network.state import restore, state_of
from harness.trial.bits import Bits

Bytes = tuple[dict[str, bytes], dict[str, Any]]

_OUTCOMES: dict[Any, tuple[dict[str, Tensor], dict[str, Any]]] = {}
_AGAIN: dict[Any, Bytes] = {}  # of a second application


def with_quick_settings(text: str) -> str:
    """A method as a step of a stack: settings that are written stay, else its class's ``quick`` settings are added."""
    (step,) = stack.parse(text)
    quick = {} if step.given else registry.load(step.name).quick
    values = ",".join(f"{name}={stack.plain(value)}" for name, value in quick.items())
    return f"{text}({values})" if values else text


def stack_of(text: str, base: str) -> Stack:
    """The stack to test a method in: a scheme stands alone, what must come first before ``base``, other methods after it."""
    (step,) = stack.parse(text)
    info = registry.available().get(step.name)
    alone = info is None or info.role is Role.SCHEME
    if info is not None and (info.leads or info.role is Role.ALLOCATE):
        return check(f"{with_quick_settings(text)}+{base}")
    return check(with_quick_settings(text) if alone else f"{base}+{with_quick_settings(text)}")


def apply(
    steps: Iterable[StackStep], model: QuantizedModel, calibration: CalibrationSet, bits: str = "w4a8", seed: int = 0
) -> None:
    """Apply steps in order, each in a context of its own, as a trial does."""
    for step in steps:
        scheme = step.scheme.method if step.scheme else None
        step.method.apply(model, calibration, Context(present_bits(model, Bits.parse(bits)), seed, scheme=scheme))


def outcome(
    stack: Stack, model: QuantizedModel, calibration: CalibrationSet, bits: str = "w4a8", *, anew: bool = False
) -> None:
    """Put what the stack leaves behind into the model; applied once a session, for checks that only look at the result.

    Args:
        stack: The stack.
        model: The model.
        calibration: Images.
        bits: Widths.
        anew: Apply it also where that is known, for checks that look at how it is applied.
    """
    key = _key(stack, model, calibration, bits)
    if key in _OUTCOMES and not anew:
        restore(model, *_OUTCOMES[key])
        return
    apply(stack.steps, model, calibration, bits)
    _OUTCOMES.setdefault(key, state_of(model))


def apply_again(stack: Stack, model: QuantizedModel, calibration: CalibrationSet, bits: str = "w4a8") -> None:
    """Apply a stack whatever is known of it; ``bytes_again`` remembers what came of it."""
    apply(stack.steps, model, calibration, bits)
    _AGAIN[_key(stack, model, calibration, bits)] = bytes_of(model)


def bytes_again(stack: Stack, model: QuantizedModel, calibration: CalibrationSet, bits: str = "w4a8") -> Bytes:
    """What an application of its own leaves behind, none that ``outcome`` knows; once a session."""
    key = _key(stack, model, calibration, bits)
    if key not in _AGAIN:
        model.clear()
        apply_again(stack, model, calibration, bits)
    return _AGAIN[key]


def _key(stack: Stack, model: QuantizedModel, calibration: CalibrationSet, bits: str) -> Any:
    methods = tuple(type(step.method) for step in stack.steps)
    return str(stack), methods, bits, id(model), id(calibration)


def bytes_of(model: QuantizedModel) -> Bytes:
    """Everything that methods have changed: bytes of each tensor by name, and plain facts."""
    tensors, facts = state_of(model)
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, facts


def first_difference(one: Bytes, other: Bytes) -> str:
    """Names one thing in which two states differ; empty when they are equal."""
    for before, after in zip(one, other, strict=True):
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        if names:
            return f"{names[0]} differs" + (f", and {len(names) - 1} more" if len(names) > 1 else "")
    return ""
