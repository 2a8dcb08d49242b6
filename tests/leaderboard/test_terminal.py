"""``harness report`` at a terminal: tables that fit it; Markdown in a pipe or on request."""

import io

import pytest
from rich.console import Console

from harness.cli.main import main
from harness.leaderboard.board.boards import boards
from harness.leaderboard.render.terminal import print_boards
from tests.leaderboard.synthetic import add, evidence, rows
from tests.store.test_store import record

ESCAPES = "\x1b[2J\x1b]0;title\x07[bold]x[/bold]"


def shown(store, width=80, known=None):
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, markup=False, emoji=False)
    known = known or evidence(store)
    print_boards(console, boards(rows(store), known), rows(store), known)
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_it_fits_the_terminal(store, width):
    for seed in range(3):
        for place, model in enumerate(("deit_tiny_patch16_224.fb_in1k", "a.b", "c.d")):
            add(store, "fqvit+omse+biascorr+evolq(loss=cosine)", 800 + place + seed, seed, model=model)
            add(store, "minmax", 700, seed, model=model)
    lines = shown(store, width).splitlines()
    assert max(map(len, lines)) <= width
    text = "".join(lines).replace(" ", "")
    assert "80.10±0.10-9.90" in text
    assert "DeiT-T" in text
    assert "|" not in text
    assert "<details>" not in text


def test_what_it_says(store):
    for seed in range(3):
        add(store, "fqvit", 800, seed, draw=1)
        add(store, "fqvit+omse", 860, seed, draw=1)
        add(store, "fqvit+omse+biascorr", 861 - seed, seed, draw=2)
    add(store, "lucky", 890, 0)
    store.save(record("f" * 16, "failed", stack="broken", error={"kind": "oom", "message": "no\nmemory"}))
    text = shown(store, 120)
    assert "w8a8, d, 8 calibration images, 1,000 evaluation images" in text
    assert "full precision 90.00" in text
    assert "89.00  -1.00 1/3" in text
    assert "omse helps: +6.00" in text
    assert "1 step within noise" in text
    assert "1 failed or skipped:" in text
    assert "broken: oom: no memory" in text
    assert "harness report --format md" in text


def test_times_of_a_busy_machine_are_named(store):
    add(store, "fqvit", 800, environment={"device": "cpu", "load": {"start": 0.1, "end": 3.0}})
    assert "Times measured on a busy machine (load per core above 1.1): fqvit (3.0)." in shown(store, 120)


def test_it_is_inert(store):
    add(store, ESCAPES, 800, model=ESCAPES)
    store.save(record("f" * 16, "failed", stack=ESCAPES, error={"kind": "oom", "message": ESCAPES}))
    text = shown(store, 200)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "[bold]x[/bold]" in text


def test_nothing_but_failures(store):
    store.save(record("f" * 16, "failed", error={"kind": "oom", "message": "no memory"}))
    assert "no finished trials" in shown(store)


def test_a_terminal_gets_tables_and_a_pipe_markdown(store, capsys, monkeypatch):
    add(store, "fqvit", 800)
    words = ["report", "--store", str(store.root), "--quiet"]
    assert main(words) == 0
    assert "| `fqvit`" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(words) == 0
    assert "| `fqvit`" not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main([*words, "--format", "md"]) == 0
    assert "| `fqvit`" in capsys.readouterr().out


def test_a_format_of_files_needs_a_folder(store, capsys):
    add(store, "fqvit", 800)
    assert main(["report", "--store", str(store.root), "--format", "csv"]) == 2
    assert "--out" in capsys.readouterr().err
