"""Scales before a trial's search, from the stored state of the stack's prefix."""

from __future__ import annotations

from torch import Tensor

from harness.analysis.landscape import scales_of
from harness.analysis.subject import Subject
from harness.engines.scale_search import Scope
from harness.method import stack as stacks
from harness.method.registration import Role
from harness.quant.network.state import restore, state_of
from harness.store.prefix_states import PrefixStates, prefix_ids
from harness.store.store import Store


def before_search(store: Store, subject: Subject, scope: Scope) -> tuple[dict[str, Tensor], str]:
    """Free scales by unit before the last refining step of the trial's stack, and in words where they come from.

    Args:
        store: Where the prefix's state would be.
        subject: The network; it is the same afterwards.
        scope: Which scales a unit has.
    """
    steps = stacks.check(subject.record["stack"]).steps
    last = max((place for place, step in enumerate(steps) if step.info.role is Role.REFINE), default=0)
    if not last:
        return {}, "the stack has no search"
    name, identity = steps[last].info.name, dict(subject.record["spec"])
    prefix = prefix_ids(identity, [step.method.protocol for step in steps])[last - 1]
    states = PrefixStates(store)
    if not states.has(prefix):
        return {}, f"the state before {name} is not in the store"
    tensors, facts = state_of(subject.model)
    now = scales_of(subject, scope)
    try:
        found = scales_of(subject, scope) if states.load(subject.model, prefix) is not None else {}
    finally:
        restore(subject.model, tensors, facts)
    same = {unit: scales for unit, scales in found.items() if unit in now and scales.shape == now[unit].shape}
    return same, f"from the scales before {name} to those after it"
