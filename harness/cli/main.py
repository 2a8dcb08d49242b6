"""The command line: find the command, run its action, turn errors into one line and an exit code.

A command is a row of ``COMMANDS``, a module in ``commands/`` (what can be typed; imports nothing heavy) and one of the same
name in ``actions/`` (what is done). Both are imported when the command is used: help needs neither torch nor pandas.

Exit codes: 0 done (also when there was nothing to do), 1 a trial failed or cannot be exported, 2 a mistake in what was asked
for or a disk that cannot be written to, 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from harness import __version__
from harness.cli.parser import CommandParser, Parser
from harness.errors import HarnessError
from harness.machine import signals, streams
from harness.machine.disk import explained
from harness.machine.inert import inert_output
from harness.machine.logs import warnings_to_stderr
from harness.machine.streams import flush_output

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


class Command(NamedTuple):
    """One command.

    Attributes:
        module: Its module in ``commands/`` and in ``actions/``.
        summary: What it does, in one line.
    """

    module: str
    summary: str


COMMANDS = {
    "run": Command("run", "Run one trial and print its record."),
    "sweep": Command("sweep", "Run a grid of trials; what is done already is not done again."),
    "reproduce": Command("reproduce", "Run a published experiment, or list those there are."),
    "plan": Command("plan", "Show what a sweep would do: trials, what is done, cost, jobs."),
    "status": Command("status", "Show how sweeps stand: queued, running, done, failed, lost."),
    "resume": Command("resume", "Run what is missing of a sweep: lost, never started, and failed if asked."),
    "cancel": Command("cancel", "Stop a sweep: its jobs or its launcher, and whatever would start next."),
    "logs": Command("logs", "Print a trial's log and, if it failed, the reason with its traceback."),
    "report": Command("report", "Make leaderboards of all records: tables, pictures, a page."),
    "latency": Command("latency", "Time an exported file beside its float32 model, and keep it with the record."),
    "diagnose": Command("diagnose", "Say what quantizing each site costs, and why the worst ones are bad."),
    "analyze": Command("analyze", "Draw a finished trial: loss landscape, values per channel, attention, accuracy."),
    "compare": Command("compare", "Say whether the difference between two results is real."),
    "recommend": Command("recommend", "Find the recipe that keeps to some limits, without labels."),
    "export": Command("export", "Write a finished trial as a file that a runtime computes with integers."),
    "submit": Command("submit", "Write finished results into one file for others."),
    "verify": Command("verify", "Check such a file, and repeat one of its trials."),
    "store": Command("store", "Check, export or merge stores of records."),
    "list": Command("listing", "List methods, models or data."),
    "describe": Command("describe", "Describe a method and its settings, or a network of the papers."),
    "doctor": Command("doctor", "Check the installation, the machine and the store."),
}


def build_parser() -> Parser:
    """The parser of all commands: their names and summaries; options of a command once it has something to parse."""
    parser = Parser(prog="harness", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("--version", action="version", version=f"harness {__version__}")
    commands: Any = parser.add_subparsers(dest="command", metavar="<command>", parser_class=CommandParser)
    for name, command in COMMANDS.items():
        commands.add_parser(name, module=command.module, help=command.summary, description=command.summary)
    return parser


@inert_output()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code.
    """
    warnings_to_stderr()
    with signals.orderly():
        return _outcome(argv)


def _outcome(argv: Sequence[str] | None) -> int:
    """The exit code; every error that is not a bug is one line."""
    try:
        code = _run(argv)
        flush_output()
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        if signals.told_to_stop():  # a library made something else of it
            return _interrupted()
        if isinstance(error, HarnessError):
            return _failed(str(error))
        if isinstance(error, OSError):
            return _not_written(error)
        raise
    return signals.exit_code() if code == signals.INTERRUPTED else code


def _interrupted() -> int:
    streams.say("interrupted")
    return signals.exit_code()


def _not_written(error: OSError) -> int:
    """An error of the system; a failed write that names no file is of standard output, which is given up then."""
    if error.filename is not None or error.errno not in streams.FAILED_WRITES:
        return _failed(explained(error))
    gone = isinstance(error, BrokenPipeError) and streams.reader_gone()
    streams.give_up_output()
    return 0 if gone else _failed(f"output cannot be written: {explained(error)}")


def _failed(text: str) -> int:
    try:
        flush_output()  # what was printed before comes first
    except OSError:
        streams.give_up_output()
    streams.say(f"error: {text}")
    return 2


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit:
        flush_output()
        raise
    if arguments.command is None:
        parser.print_help()
        return 0
    action = importlib.import_module(f"harness.cli.actions.{COMMANDS[arguments.command].module}")
    code: int = action.run(arguments)
    return code
