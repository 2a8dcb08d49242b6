"""Text from elsewhere in every format: it is shown, and means nothing there. One function per format, any text."""

import base64
import csv
import gzip
import html
import io
import itertools
import json
import logging
import re
import sys

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.cli.actions.summary import print_summary
from harness.cli.main import main
from harness.leaderboard import text
from harness.leaderboard.render.page import packed
from harness.machine.inert import InertStream, inert_output
from harness.machine.logs import warnings_to_stderr
from harness.store.csv_file import write_csv
from harness.text import inert, spreadsheet
from tests.leaderboard.synthetic import add
from tests.store.test_store import record

ESCAPES = "\x1b[2J\x1b]0;title\x07\x9b31m\r\b\x7f\x00"
TRICKS = "\u202eabc\u2066\u200b\ufeff\u2028\udcff\U000e0041"
MARKUP = "|`*_~[a](b)![c](d)<script>alert(1)</script>&lt;https://x.y www.x.y $x$ \\|"
# Any text, with the characters that mean something in one of the formats more often than others.
TEXTS = st.text() | st.text(alphabet="\\|`*_~$[]()<>&!#=+-@%{}^\"' \t\r\n\x00\x07\x1b\x7f\x9b\u202e\u2028\udcffaw.:/1é±")
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def hostile(test):
    for one in (ESCAPES, TRICKS, MARKUP, "=1+1", "-1e5", "\\input{/etc/passwd}", "a\\|b", "`", "a`|", "https://a", "^^M"):
        test = example(one)(test)
    return given(TEXTS)(test)


@hostile
def test_a_terminal_shows_every_character(given):
    shown = inert(given)
    assert all(character.isprintable() or character in "\n\t" for character in shown)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert inert(shown) == shown
    assert shown == given or re.search(r"\\u[0-9a-f]{4}|\\U[0-9a-f]{8}", shown)


@hostile
def test_json_means_the_same_on_a_terminal(given):
    assert json.loads(inert(json.dumps(given))) == given


@hostile
def test_a_spreadsheet_computes_nothing(given):
    cell = spreadsheet(given)
    begins = cell.lstrip(" \n")[:1]
    is_number = re.fullmatch(r"[+-]?[\d.]+([eE][+-]?\d+)?", cell)
    assert is_number or begins not in tuple("=+-@\t\r＝＋－＠")
    assert cell.removeprefix("'") == inert(given) or cell == inert(given)


@pytest.mark.parametrize("number", ["-1", "+2.5", "-.5", "-1e-7", "1"])
def test_numbers_stay_numbers(number):
    assert spreadsheet(number) == number


def test_a_table_as_csv(tmp_path):
    values = ["=cmd|'/c calc'!A0", "+1+1", "-2", "@SUM(A1)", "\t=1", "plain", ESCAPES]
    rows = pd.DataFrame({"text": pd.array(values, dtype="string"), "number": [-1.5, 2, 3, 4, 5, 6, -7]})
    write_csv(rows, tmp_path / "x.csv")
    read = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text())))
    assert [row["text"][:1] for row in read] == ["'", "'", "-", "'", "'", "p", "\\"]
    assert [float(row["number"]) for row in read] == [-1.5, 2, 3, 4, 5, 6, -7]


def rendered(source):
    """What a Markdown renderer makes of the only cell of a table with that source: its tokens."""
    tokens = MARKDOWN.parse(f"| a | b |\n|:--|:--|\n| {source} | end |\n")
    cells = [token for before, token in itertools.pairwise(tokens) if before.type == "td_open"]
    assert [cell.content for cell in cells[1:]] == ["end"], "one cell stays one cell"
    return cells[0].children


@hostile
def test_markdown_shows_the_text_and_nothing_else(given):
    inside = rendered(text.markdown(given))
    assert {token.type for token in inside} <= {"text", "text_special"}
    shown = "".join(token.content for token in inside)
    assert shown.split() == inert(shown).split(), "no control characters"
    assert re.sub(r"\s+", "", shown) == re.sub(r"\s+", "", "".join(map(text._one_line, [given])))
    assert not re.search(r"(?<!\\)://|www(?<!\\)\.", text.markdown(given), re.IGNORECASE), "no bare address"


@hostile
def test_code_in_markdown_shows_the_text_and_nothing_else(given):
    inside = rendered(text.code(given))
    kinds = {token.type for token in inside}
    assert kinds <= {"code_inline", "text", "text_special", "html_inline"}
    tags = {token.content for token in inside if token.type == "html_inline"}
    assert tags <= {"<code>", "</code>"}
    shown = "".join(token.content for token in inside if token.type != "html_inline")
    assert shown.split() == (" ".join(inert(" ".join(given.split())).split()) or "-").split()


LATEX_COMMAND = re.compile(
    r"\\(?:[&%$#_{}]|(?:textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\})|\$\\(?:pm|approx)\$"
)


@hostile
def test_latex_has_no_command_but_those_of_characters(given):
    left = LATEX_COMMAND.sub("", text.latex(given))
    assert not set(left) & set("\\&%$#_{}~^<>\n\r\t\x00")
    assert all(character.isprintable() for character in left)


@hostile
def test_html_has_no_markup(given):
    shown = text.html(given)
    assert not set(shown) & set("<>\"'")
    assert html.unescape(shown) == inert(given)


@hostile
def test_data_within_a_page(given):
    written = packed({"a": given})
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", written)
    assert json.loads(gzip.decompress(base64.b64decode(written))) == {"a": inert(given)}


@pytest.mark.parametrize("form", ["markdown", "json"])
def test_a_report_on_a_terminal(store, capsys, form):
    add(store, ESCAPES + TRICKS.replace("\udcff", ""), 800, model=ESCAPES, command=ESCAPES)
    store.save(record("f" * 16, "failed", error={"kind": "oom", "message": ESCAPES}))
    assert main(["report", "--store", str(store.root), *(["--json"] if form == "json" else [])]) == 0
    out, err = capsys.readouterr()
    assert all(character.isprintable() or character in "\n\t" for character in out + err)
    assert "u001b" in out


def test_names_that_are_not_unicode_can_be_printed(capsys):
    with inert_output():
        print("a\udcffb\x1b[0m")
        print("c\x07", file=sys.stderr)
    assert capsys.readouterr() == ("a\\udcffb\\u001b[0m\n", "c\\u0007\n")
    assert not isinstance(sys.stdout, InertStream), "afterwards all is as before"


def test_a_terminal_without_unicode_gets_numbers(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", errors="strict", write_through=True))
    with inert_output():
        print("w4a8 ± é")
    assert raw.getvalue() == b"w4a8 \\xb1 \\xe9\n"


def test_warnings_are_inert(capsys):
    warnings_to_stderr()
    logging.getLogger("harness.x").warning("file %s", ESCAPES)
    assert capsys.readouterr().err == f"warning: file {inert(ESCAPES)}\n"


def test_a_stored_record_is_printed_as_text(store, capsys):
    """Brackets are no styles, and what the records of another group lack is a dash."""
    metrics = {"top1": 80.0, "top1_fp32": 90.0, "agreement": 95.0, "n_images": 11, "n_correct": 9}
    stages = [{"name": "[/x]\x1b[2J", "seconds": 1.0}]
    one = record(stack="[/bold][red]x[/x]", model=ESCAPES, stages=stages, metrics=metrics, command="[/y]")
    print_summary(one, store.root, cached=True)
    out = capsys.readouterr().out
    assert "[/bold][red]x[/x]" in out
    assert "[/x]\\u001b[2J" in out
    assert "[/y] --force" in out
    assert all(character.isprintable() or character == "\n" for character in out)
