"""Apply a whole stack to a model, for tests of what it leaves behind."""

from harness.data.sources import open_source
from harness.method.stack import check


def apply(model, calibration, context, stack="repqvit", bits="w4a4"):
    """Apply every step in one context; returns it with the last step's notes."""
    made = context(bits)
    for step in check(stack).steps:
        step.method.apply(model, calibration, made)
    return made


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
