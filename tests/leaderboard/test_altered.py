"""Altered networks are marked wherever their numbers are shown, and nothing changes where there are none."""

import io
import json

import pandas as pd
import pytest
from rich.console import Console

from harness.leaderboard.board.altered import SIGN, altered_note, altered_sign
from harness.leaderboard.board.boards import boards
from harness.leaderboard.board.export import long_rows
from harness.leaderboard.board.features import feature_rows
from harness.leaderboard.render.features import features_markdown
from harness.leaderboard.render.latex import leaderboards_latex
from harness.leaderboard.render.terminal import print_boards
from harness.leaderboard.report import markdown, write
from harness.store.table import row
from harness.store.table_cache import rows as cached_rows
from tests.leaderboard.synthetic import add, evidence, rows
from tests.leaderboard.test_page import data, page_of
from tests.store.test_store import record

CHANGES = ["6 activation functions replaced by ReLU"]
NOTE = "an altered network, not the checkpoint's"


@pytest.fixture
def mixed(store):
    """Per seed a plain stack, an altered one, and a step on top of each."""
    for seed in range(2):
        add(store, "minmax", 800, seed, draw=1)
        add(store, "minmax+relumlp", 850, seed, draw=1, altered=CHANGES)
        add(store, "minmax+omse", 820, seed, draw=1)
    return store


def terminal(store):
    file = io.StringIO()
    known = evidence(store)
    print_boards(Console(file=file, width=160, highlight=False), boards(rows(store), known), rows(store), known)
    return file.getvalue()


def test_one_sign_and_one_line():
    assert (altered_sign(""), altered_sign("b")) == ("", SIGN)
    assert altered_note(["", "b", "a", "b"]) == f"{SIGN}: {NOTE} (a; b)."
    assert altered_note([""]) == ""


def test_rows_of_records_say_it(store):
    assert row(record("a" * 16, altered=CHANGES))["altered"] == CHANGES[0]
    assert row(record("a" * 16))["altered"] is None
    add(store, "relumlp", 850, altered=CHANGES)
    assert list(cached_rows(store).table["altered"]) == list(cached_rows(store).table["altered"]) == CHANGES


def test_a_terminal_marks_it(mixed):
    text = terminal(mixed)
    marked = [line for line in text.splitlines() if SIGN in line]
    assert [line.split()[0] for line in marked] == ["minmax+relumlp", f"relumlp{SIGN}", f"{SIGN}:"]
    assert NOTE in " ".join(text.split())


def test_markdown_marks_it(mixed):
    text = markdown(rows(mixed), evidence(mixed), ("nll",))
    marked = [line for line in text.splitlines() if SIGN in line]
    assert [line.split(" | ")[0].strip("|- ") for line in marked[:2]] == ["`minmax+relumlp`", f"`relumlp`{SIGN}"]
    assert marked[0].split(" | ")[1].strip().endswith(f"(-5.00) {SIGN}")
    assert f"`minmax+relumlp`{SIGN} 1 [" in marked[2], "among the ranks"
    assert marked[3].startswith(f"{SIGN}: {NOTE} ({CHANGES[0]})")
    assert len(marked) == 4


def test_latex_marks_it(mixed):
    source = leaderboards_latex(boards(rows(mixed), evidence(mixed)))
    assert r"\texttt{minmax+\allowbreak{}relumlp} & $\mathbf{85.00}^{\S}_{\pm0.00}$" in source
    assert source.count(r"$^{\S}$: " + NOTE) == 1


def test_tables_for_programs_have_a_column(mixed, tmp_path):
    found = long_rows(boards(rows(mixed), evidence(mixed)))
    assert list(found.columns)[-1] == "altered"
    assert {one.stack: one.altered for one in found.itertuples() if pd.notna(one.altered)} == {"minmax+relumlp": CHANGES[0]}
    write(rows(mixed), evidence(mixed), tmp_path / "out", ("csv", "parquet"))
    for read in (
        pd.read_csv(tmp_path / "out" / "leaderboard.csv"),
        pd.read_parquet(tmp_path / "out" / "leaderboard.parquet"),
    ):
        assert dict(zip(read["stack"], read["altered"].fillna(""), strict=True))["minmax+relumlp"] == CHANGES[0]
        assert read["altered"].isna().sum() == 2


def test_the_page_has_it_by_cell_step_and_record(mixed):
    page = page_of(mixed)
    made = data(page, "boards")
    assert made["altered"] == {"sign": SIGN, "note": f"{SIGN}: {NOTE} ({CHANGES[0]})."}
    (listed,) = made["lists"]
    shown = {made["stacks"][one["stack"]]["label"]: one.get("altered") for one in listed["rows"]}
    assert shown == {"minmax": None, "minmax+omse": None, "minmax+relumlp": made["texts"].index(CHANGES[0])}
    assert {one["step"]: "altered" in one for one in listed["steps"]} == {"relumlp": True, "omse": False}
    assert "altered" in data(page, "records")


def test_features_of_an_altered_network_are_marked(store, tmp_path):
    metrics = {"feature_cosine": 0.9, "feature_mse": 0.1, "feature_sqnr_db": 9.0, "n_images": 8}
    spec = {"stack": [], "task": "features"}
    add(store, "relumlp", 0, metrics=metrics, spec=spec, altered=CHANGES)
    assert list(feature_rows(rows(store))["altered"]) == CHANGES
    assert f"`relumlp`{SIGN}" in features_markdown(rows(store))
    assert f"{SIGN}: {NOTE}" in markdown(rows(store), evidence(store))
    assert f"relumlp{SIGN}" in terminal(store)
    write(rows(store), evidence(store), tmp_path / "out", ("csv",))
    assert list(pd.read_csv(tmp_path / "out" / "features.csv")["altered"]) == CHANGES


def test_boards_without_altered_networks_say_nothing_of_it(store, tmp_path):
    for seed in range(2):
        add(store, "minmax", 800, seed)
        add(store, "minmax+omse", 820, seed)
    write(rows(store), evidence(store), tmp_path / "out", ("md", "csv", "latex"))
    for path in ("README.md", "leaderboard.csv", "leaderboard.tex"):
        text = (tmp_path / "out" / path).read_text(encoding="utf-8")
        assert "altered" not in text, path
        assert SIGN not in text, path
    assert SIGN not in terminal(store)
    page = page_of(store)
    assert '"altered"' not in json.dumps([data(page, "boards"), data(page, "records")])
