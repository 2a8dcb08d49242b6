"""BibTeX of a board: well-formed whatever a plugin calls its paper, each work once."""

import json
import re

import pytest

from harness.cli.main import main
from harness.leaderboard.render import bibtex as module
from harness.leaderboard.render.bibtex import bibtex
from harness.method.registration import MethodInfo, Role
from harness.method.registry import available
from harness.store.table import table
from tests.leaderboard.test_report import add
from tests.store.test_store import record


def rows(*stack, data="embedded"):
    steps = [{"name": name, "version": 1, "config": {}} for name in stack]
    return table([record(spec={"stack": steps}, data={"name": data, "fingerprint": "f"}, environment={"commit": "c" * 40})])


def entries(text):
    """Entries by key, with braces counted as BibTeX does."""
    found = {}
    for part in text.split("\n\n"):
        assert re.match(r"@(misc|inproceedings)\{[a-z0-9]+,\n", part), part
        depth = 0
        for place, character in enumerate(part):
            depth += (character == "{") - (character == "}")
            assert depth > 0 or place < part.index("{") or place == len(part) - 1, part
        assert depth == 0
        found[part.partition("{")[2].partition(",")[0]] = part
    return found


def test_papers_of_the_methods_networks_and_images():
    found = entries(bibtex(rows("fqvit", "biascorr", "evolq")))
    assert next(iter(found)) == "ptqharness"
    assert "cccccccccccc" in found["ptqharness"]
    assert {"lin2022fqvit", "banner2019post", "nagel2019datafree", "frumkin2023jumping", "xiao2017fashionmnist"} <= set(
        found
    )
    assert "author = {Lin and others}" in found["lin2022fqvit"]
    assert "booktitle = {IJCAI}" in found["lin2022fqvit"]
    assert "eprint = {1708.07747}" in found["xiao2017fashionmnist"]
    assert "russakovsky2015imagenet" in entries(bibtex(rows("fqvit", data="photos")))


@pytest.mark.parametrize("name", sorted(available()))
def test_every_method_is_well_formed(name):
    found = entries(bibtex(rows(name)))
    if available()[name].paper:
        assert len(found) > 3


@pytest.mark.parametrize(
    "paper", ["A {brace, V 2020", "}{", "\\end{x}", "É et al., ☃, V 2020", "", "Ab, %&$#_~^, V 2021", "x" * 5000]
)
def test_papers_of_plugins(paper, monkeypatch):
    monkeypatch.setattr(module, "available", lambda: {"odd": MethodInfo("odd", Role.CORRECT, paper=paper)})
    assert entries(bibtex(rows("odd")))


def test_on_the_command_line(store, capsys):
    add(store, "fqvit", 800)
    assert main(["report", "--store", str(store.root), "--cite", "--quiet"]) == 0
    assert "@misc{ptqharness" in capsys.readouterr().out


def test_submissions_are_shown_with_their_origin(store, tmp_path, capsys):
    add(store, "fqvit", 800)
    ours = str(tmp_path / "ours.parquet")
    assert main(["store", "export", "--store", str(store.root), "--format", "parquet", "--full", "--out", ours]) == 0
    other = tmp_path / "submissions"
    add(type(store)(tmp_path / "theirs"), "fqvit+omse", 810)
    submit = ["submit", "--all", "--by", "A. Lab", "--out", str(other / "a.parquet")]
    assert main([*submit, "--store", str(tmp_path / "theirs")]) == 0
    capsys.readouterr()
    assert main(["report", "--records", ours, "--submissions", str(other), "--quiet", "--json"]) == 0
    origins = {one["stack"]: one.get("imported", {}).get("from") for one in json.loads(capsys.readouterr().out)}
    assert origins == {"fqvit": None, "fqvit+omse": "A. Lab"}
    assert main(["report", "--submissions", str(tmp_path / "absent")]) == 2
    assert "is no folder of submissions" in capsys.readouterr().err
