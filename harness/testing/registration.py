"""What holds for everything that is registered, method or calibration source: its facts and its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.method import registry, settings, stack

if TYPE_CHECKING:
    import pytest

FACTS = ("name", "role", "needs", "provides", "version", "paper", "summary", "extra")


class RegistrationKit:
    """Base of the kits; ``named`` says what they run over."""

    def named(self) -> Sequence[str]:
        """Names, or names with settings in parentheses."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test once for everything named.

        Raises:
            ValueError: Nothing is named, or the names are one text instead of several.
        """
        names = self.named()
        if isinstance(names, str) or not names:
            raise ValueError(f"{type(self).__name__} tests {names!r}: expected a tuple of names, for example ('clip',)")
        if "method" in metafunc.fixturenames:
            metafunc.parametrize("method", list(names))

    def test_registered_facts_can_be_read_from_the_source_text(self, method: str) -> None:
        """Listing reads ``@register`` without importing the module."""
        name = _name(method)
        listed, loaded = registry.available()[name], registry.load(name).info
        for fact in FACTS:
            text, value = getattr(listed, fact), getattr(loaded, fact)
            assert text == value, f"{name}: @register says {fact}={value!r}, its source text reads {text!r}: write a literal"

    def test_settings_are_a_frozen_dataclass_with_defaults_and_descriptions(self, method: str) -> None:
        """Users see them in ``harness describe method``; they are part of a trial's identity."""
        name = _name(method)
        config: type[Any] = registry.load(name).Config
        frozen = getattr(getattr(config, "__dataclass_params__", None), "frozen", False)
        assert frozen, f"{name}: {config.__name__} must be a @dataclass(frozen=True)"
        for setting in settings.settings_of(config):
            assert setting.default is not dataclasses.MISSING, f"{name}: setting {setting.name} has no default"
            assert setting.description, (
                f"{name}: setting {setting.name} has no description: Annotated[type, Field(description='...')]"
            )

    def test_quick_settings_are_valid(self, method: str) -> None:
        """Tests and first trials use them: the class attribute ``quick``."""
        name = _name(method)
        cls = registry.load(name)
        _, problems = settings.build(cls.Config, cls.quick, name)
        assert not problems, f"{name}: quick={dict(cls.quick)} is refused: " + "; ".join(
            problem.text for problem in problems
        )


def _name(text: str) -> str:
    (step,) = stack.parse(text)
    return step.name
