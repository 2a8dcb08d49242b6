"""Argument parsers: complaints name the nearest valid choice, and a command's options are added when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from harness.errors import nearest
from harness.text import shortened

T = TypeVar("T")
_NEGATIVE = re.compile(r"-[\d.]")


def whole(text: str) -> int:
    """A whole number of the command line.

    Raises:
        ArgumentTypeError: It is none; with what is expected.
    """
    return _read(int, text, f"a whole number such as {_meant(text)}")


def _meant(text: str) -> str:
    """The whole number that was written in another way, or any one."""
    try:
        found = float(text)
    except ValueError:
        return "32"
    return str(int(found)) if abs(found) < 10**15 and found.is_integer() else "32"


def number(text: str) -> float:
    """A number of the command line.

    Raises:
        ArgumentTypeError: It is none; with what is expected.
    """
    return _read(float, text, "a number such as 1 or 0.5")


def _read(kind: Callable[[str], T], text: str, expected: str) -> T:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {shortened(text)!r}, expected {expected}") from None


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints name the nearest valid choice."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)
        self.register("type", int, whole)
        self.register("type", float, number)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help or a complaint; argparse's own passes over a disk that is full, and exits with 0."""
        (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        choices = [str(choice) for action in self._actions for choice in (action.choices or ())]
        given = re.search(r"invalid choice: '([^']*)'", message)
        hint = nearest(given[1], choices) if given else ""
        self.exit(2, f"error: {message}.{hint} See: {self.prog} --help\n")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuse an unknown option before a missing one is complained about: ``--methd`` is both."""
        words = list(sys.argv[1:] if args is None else args)
        options = [option for action in self._actions for option in action.option_strings]
        for word in [] if self._subparsers else words:
            name, _, value = word.partition("=")
            if name.startswith("--") and value == "--":  # argparse makes an empty list of it
                self.exit(2, f"error: {word}: '--' is no value. See: {self.prog} --help\n")
            if name.startswith("--") and name != "--" and not any(option.startswith(name) for option in options):
                self.exit(2, f"error: unknown option {name}.{nearest(name, options)} See: {self.prog} --help\n")
        return super().parse_known_args(list(self._joined(words)), namespace)

    def _joined(self, words: Sequence[str]) -> Iterator[str]:
        """``--memory -3GB`` as ``--memory=-3GB``: argparse takes the size for an option, and misses a value."""
        taking = {name for action in self._actions if action.nargs is None for name in action.option_strings}
        rest = iter(words)
        for word in rest:
            value = next(rest, None) if word in taking else None
            if value is None:
                yield word
            elif _NEGATIVE.match(value):
                yield f"{word}={value}"
            else:
                yield from (word, value)


class CommandParser(Parser):
    """The parser of one command; its options and examples are added when it has something to parse.

    Args:
        module: Module of ``harness.cli.commands`` with ``EXAMPLES`` and ``add_options(parser)``.
        settings: Of ``argparse.ArgumentParser``.
    """

    def __init__(self, *, module: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._module: str | None = module

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Add the options, then parse."""
        if self._module is not None:
            command = importlib.import_module(f"harness.cli.commands.{self._module}")
            self._module = None
            self.epilog = f"examples:\n{command.EXAMPLES}"
            command.add_options(self)
        found, rest = super().parse_known_args(args, namespace)
        if hasattr(found, "overrides"):  # argparse takes positional words of one place only; key=value may stand anywhere
            found.overrides = [*found.overrides, *(word for word in rest if not word.startswith("-"))]
            rest = [word for word in rest if word.startswith("-")]
        return found, rest
