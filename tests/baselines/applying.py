"""Apply a whole stack to a model, for tests of what it leaves behind."""

import copy

from harness.data.sources import open_source
from harness.method.registration import Role
from harness.method.stack import check
from harness.quant.network.state import restore, state_of

_SCHEMES = {}


def apply(model, calibration, context, stack="repqvit", bits="w4a4"):
    """Apply every step in one context; returns it with the last step's notes."""
    made = context(bits)
    first, *rest = check(stack).steps
    (_scheme if rest and first.info.role is Role.SCHEME else _anew)(first, model, calibration, made)
    for step in rest:
        step.method.apply(model, calibration, made)
    return made


def _anew(step, model, calibration, made):
    step.method.apply(model, calibration, made)


def _scheme(step, model, calibration, made):
    """What a scheme leaves behind is computed once a session for all stacks that begin with it; alone it always runs."""
    key = (repr(step.identity()), str(made.bits), model.arithmetic, id(model), id(calibration))
    if state_of(model)[0]:  # it would come on top of something
        _anew(step, model, calibration, made)
    elif key in _SCHEMES:
        tensors, facts, notes = _SCHEMES[key][:3]
        restore(model, _copied(tensors), copy.deepcopy(facts))
        made.notes.update(notes)
    else:
        _anew(step, model, calibration, made)
        tensors, facts = state_of(model)
        # The last two stay alive with it, so that no other object gets their identity.
        _SCHEMES[key] = _copied(tensors), copy.deepcopy(facts), dict(made.notes), model, calibration


def _copied(tensors):
    """Later steps may write into what they find."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


def errors_on_others(model, context, preprocessing, stacks, bits="w4a4"):
    """Mean squared error of the logits on 64 images, by stack, each calibrated on eight other ones."""
    source = open_source("embedded")
    few, others = source.calibration(8, 0, preprocessing), source.calibration(72, 0, preprocessing).images[8:]
    target, errors = model.full_precision(others), {}
    for stack in stacks:
        model.clear()
        apply(model, few, context, stack, bits)
        errors[stack] = (model(others) - target).square().mean().item()
    return errors
