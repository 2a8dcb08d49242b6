"""Apply a whole stack to a model, for tests of what it leaves behind."""

from harness.stack import check


def apply(model, calibration, context, stack="repqvit", bits="w4a4"):
    """Apply every step in one context; returns it with the last step's notes."""
    made = context(bits)
    for step in check(stack).steps:
        step.method.apply(model, calibration, made)
    return made
