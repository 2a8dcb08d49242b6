"""The command line: parse, dispatch to a verb, turn errors into one line and an exit code.

Exit codes: 0 done (also when there was nothing to do), 1 a trial failed, 2 a mistake in what was asked for.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from harness import __version__
from harness.cli.commands import (
    cancel,
    compare,
    describe,
    doctor,
    listing,
    logs,
    plan,
    report,
    reproduce,
    resume,
    run,
    status,
    store,
    sweep,
)
from harness.errors import HarnessError, nearest
from harness.machine.logs import warnings_to_stderr

DESCRIPTION = "Benchmark post-training quantization of vision models: run stacks of methods, keep records, report on them."
EXAMPLES = """examples:
  harness run --method fqvit+omse+biascorr+evolq             the embedded network and images, w8a8
  harness run --method 'fqvit+evolq(passes=3)' --bits w4a8   settings in parentheses
  harness run --method fqvit --model deit_tiny_patch16_224 --data /path/to/imagenet
  harness sweep --experiment table1                          a grid of trials, here or on SLURM
  harness reproduce evolq_table3                             a paper's table, scaled down or whole
  harness list methods                                       what can be stacked
  harness describe method evolq                              its settings
  harness report                                             a table of all records
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints name the nearest valid choice."""

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
            name = word.partition("=")[0]
            if name.startswith("--") and name != "--" and not any(option.startswith(name) for option in options):
                self.exit(2, f"error: unknown option {name}.{nearest(name, options)} See: {self.prog} --help\n")
        return super().parse_known_args(words, namespace)


VERBS = (run, sweep, reproduce, plan, status, resume, cancel, logs, report, compare, store, listing, describe, doctor)


def build_parser() -> Parser:
    """The parser of all verbs."""
    parser = Parser(
        prog="harness", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"harness {__version__}")
    verbs: Any = parser.add_subparsers(dest="verb", metavar="<verb>", parser_class=Parser)
    for verb in VERBS:
        verb.add_parser(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code.
    """
    warnings_to_stderr()
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.verb is None:
        parser.print_help()
        return 0
    try:
        code: int = arguments.handler(arguments)
        return code
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away: nothing left to say
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
