"""What every registered method must keep to, run over the registry: a new method is covered by being there."""

from harness.method import registry
from harness.method.base import Protocol
from harness.method.registration import Role
from harness.method.stack import check
from harness.testing import MethodKit, SourceKit

KNOWN = registry.available().items()


class TestEveryMethod(MethodKit):
    # Engines of other libraries have a kit of their own (tests/baselines/test_engines.py): they put a network in our place.
    methods = tuple(sorted(name for name, info in KNOWN if info.role is not Role.SOURCE and not info.extra))


class TestEverySource(SourceKit):
    sources = tuple(sorted(name for name, info in KNOWN if info.role is Role.SOURCE))


def test_methods_that_see_evaluation_data_are_marked():
    stack = check("fqvit+evolq(selection=evaluation)")
    assert stack.protocol == "paper"
    assert stack.steps[1].method.protocol is Protocol.PAPER
