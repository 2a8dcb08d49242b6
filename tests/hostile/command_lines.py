"""Command lines over every verb, made from the parsers themselves: no option can be forgotten."""

import argparse
import importlib

from hypothesis import strategies as st

from harness.cli.main import COMMANDS
from harness.cli.parser import Parser
from tests.hostile.texts import TEXTS
from tests.hostile.world import WORDS

NUMBER = "<n>"
# Words that make a command do something, without which most lines would end at the first check.
USUAL = {
    "run": ["--method", "minmax", *WORDS],
    "sweep": ["--method", "minmax", *WORDS],
    "plan": ["--method", "minmax", *WORDS],
    "reproduce": ["evolq_table3", "--plan"],
    "compare": ["fqvit", "fqvit+omse"],
    "list": ["methods"],
    "describe": ["method", "fqvit"],
    "logs": ["0"],
    "export": ["0", "--out", "exported"],
}
# Plain values by the name that the parser gives them; everything hostile comes from ``texts.py``.
PLAIN = {"method": ["minmax", "fqvit"], "bits": ["w8a8", "w4a8"], "format": ["csv", "md", "md,csv"], "experiment": ["smoke"]}


def options_of(verb, action=""):
    """The parser of a verb, or of one of its actions, as the command line uses it."""
    module = importlib.import_module(f"harness.cli.commands.{COMMANDS[verb].module}")
    parser = Parser(prog=f"harness {verb}")
    module.add_options(parser)
    below = next((one for one in parser._actions if isinstance(one, argparse._SubParsersAction)), None)
    return parser._actions if not action or below is None else below.choices[action]._actions


def verbs():
    """Every verb; a verb with actions once for each of them."""
    found = []
    for verb in COMMANDS:
        below = [one for one in options_of(verb) if isinstance(one, argparse._SubParsersAction)]
        found += [(verb, action) for action in below[0].choices] if below else [(verb,)]
    return found


@st.composite
def lines(draw, verb, action):
    """A line with up to four options, some plain, most hostile, sometimes in a wrong order or twice."""
    options = options_of(verb, action)
    named = [one for one in options if one.option_strings and one.dest not in ("help", "store")]
    places = [one for one in options if not one.option_strings and not isinstance(one, argparse._SubParsersAction)]
    words = [verb] + ([action] if action else [])
    if draw(st.integers(0, 9)) < 8:
        words += USUAL.get(verb, [])
    elif places:
        words += [draw(_value(one)) for one in places[: draw(st.integers(0, 2))]]
    for one in draw(st.lists(st.sampled_from(named), max_size=3)) if named else []:
        words += [draw(st.sampled_from(one.option_strings))] + ([] if one.nargs == 0 else [draw(_value(one))])
    if draw(st.integers(0, 9)) == 0:
        words.insert(draw(st.integers(0, len(words))), draw(st.sampled_from(TEXTS)))
    return words


def _value(option):
    plain = [str(choice) for choice in option.choices or ()] + PLAIN.get(option.dest, [])
    hostile = st.sampled_from(TEXTS)
    return st.one_of(hostile, hostile, st.sampled_from(plain)) if plain else hostile
