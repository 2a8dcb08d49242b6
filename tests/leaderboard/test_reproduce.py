"""Published experiments: every preset composes, one runs scaled down, titles do not pretend."""

import json
import re
from dataclasses import replace

import pandas as pd
import pytest

from harness.cli.main import main
from harness.leaderboard.published.numbers import accuracies, runtimes
from harness.leaderboard.published.reproduction import Reproduction, tables, title
from harness.method.stack import check
from harness.models.cards import cards
from harness.sweep.compose import compose_sweep, reproductions
from harness.sweep.grid import expand

PRESETS = reproductions()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_compose_and_name_what_is_published(name):
    composed = compose_sweep([f"experiment={name}"])
    specs = expand(composed.specs)
    reproduction = Reproduction.of(PRESETS[name])
    assert {spec.model for spec in specs} <= {card.name for card in cards().values()}
    assert all(spec.preprocess == {"recipe": "paper"} for spec in specs)
    assert set(reproduction.rows) <= {spec.method for spec in specs}, "rows that are claimed are run"
    numbers = runtimes() if reproduction.quantity == "minutes" else accuracies()
    published = {one.method for one in numbers if one.source.startswith(reproduction.source)}
    assert {*reproduction.rows.values(), *(one.name for one in reproduction.own)} <= published
    beside = reproduction.beside(specs)
    assert {(spec.model, spec.bits, spec.seed) for spec in beside} <= {(spec.model, spec.bits, spec.seed) for spec in specs}
    if published:
        bits = {one.bits for one in accuracies() if one.source.startswith(reproduction.source)}
        assert not bits or {spec.bits for spec in specs} == bits
    else:
        assert "not published" in reproduction.note


def test_all_tables_of_the_paper_are_there():
    sources = {content["source"] for content in PRESETS.values()}
    assert {f"Evol-Q paper Table {number}" for number in range(2, 10)} <= sources
    assert "Evol-Q supplement Table 1" in sources
    for what in ("passes", "cycles", "the calibration size", "seeds"):
        assert f"Evol-Q paper ablation of {what}" in sources


def row(model, stack, top1, images=500, seconds=60.0):
    stages = json.dumps([["capture", 1.0], ["evolq", seconds], ["evaluate", 2.0]])
    values = {"model": model, "stack": stack, "top1": top1, "n_images": images, "stages": stages}
    return {**values, "bits": "w4a8", "calib": 32, "data": "imagenet", "calib_source": "data"}


def test_a_scaled_down_run_says_so_and_a_whole_one_does_not():
    reproduction = Reproduction.of(PRESETS["evolq_table3"])
    deit = "deit_tiny_patch16_224.fb_in1k"
    assert title(reproduction, pd.DataFrame([row(deit, "fqvit", 70.0)])).startswith("NOT Evol-Q paper Table 3")
    whole = pd.DataFrame([row(deit, "fqvit", 66.0 + i, images=50_000) for i in range(3)])
    assert title(reproduction, whole).startswith("Evol-Q paper Table 3, on its networks")
    assert title(reproduction, whole.assign(model="resnet26")).startswith("NOT ")
    text = tables(reproduction, whole)
    line = next(line for line in text.splitlines() if line.startswith("| FQ-ViT"))
    assert "67.00 ± 1.00 (n=3)" in line
    assert "66.91" in line
    assert re.search(r"\| PSAQ-ViT +\| published only", text)


MEASURED = {  # rows of Evol-Q's tables that a method of this project can produce, in the order of the paper
    "evolq_table2": ["PSAQ-ViT", "PTQ4ViT", "FQ-ViT", "PSAQ-ViT-V2", "Evol-Q"],
    "evolq_table3": ["PSAQ-ViT", "PTQ4ViT", "FQ-ViT", "PSAQ-ViT-V2", "Evol-Q"],
    "evolq_table4": ["FQ-ViT", "Evol-Q"],
    "evolq_table5": ["PSAQ-ViT", "PSAQ-ViT-V2", "FQ-ViT", "Evol-Q"],
    "evolq_table6": ["FQ-ViT", "Evol-Q"],
    "evolq_table7": ["SGD on scales", "Adam on scales", "AdamW on scales", "Evol-Q"],
    "evolq_table8": ["BRECQ", "Evol-Q on BRECQ"],
}


@pytest.mark.parametrize("name", MEASURED)
def test_every_row_is_measured_and_stands_in_the_papers_order(name):
    reproduction = Reproduction.of(PRESETS[name])
    grid = expand(compose_sweep([f"experiment={name}"]).specs)
    asked = [*grid, *reproduction.beside(grid)]
    bits = asked[0].bits
    frame = pd.DataFrame([
        {**row(spec.model, spec.method, 70.0), "bits": bits, "calib": spec.calib, "calib_source": spec.calib_source}
        for spec in reversed(asked)
    ])  # fmt: skip
    text = tables(reproduction, frame)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]
    heading, *body = lines
    assert [line[0] for line in body if not line[0].startswith("variant")] == MEASURED[name]
    assert "published only" not in text
    networks = list(dict.fromkeys(one.model for one in accuracies() if one.source == reproduction.source))
    assert heading[3:] == [f"{model} {what}" for model in networks for what in ("published", "here")]
    assert all("(n=" in cell for line in body for cell in line[4::2])


def test_rows_beside_the_grid_are_scaled_down_too():
    whole, small = Reproduction.of(PRESETS["evolq_table5"]), Reproduction.of(PRESETS["evolq_table5"], small=True)
    assert [row.place for row in whole.own] == [("minmax", "psaq(lr=0.25)"), ("minmax+psaqv2", "psaq(lr=0.25)")]
    assert [row.place for row in small.own] == [("minmax", "psaq(iterations=20)"), ("minmax+psaqv2", "psaq(iterations=20)")]
    assert {row.name for row in small.own} == {row.name for row in whole.own}


def test_rows_without_data_are_told_from_the_same_stack_with_data():
    reproduction = Reproduction.of(PRESETS["evolq_table2"])
    deit = "deit_tiny_patch16_224.fb_in1k"
    frame = pd.DataFrame([row(deit, "minmax", 70.0), {**row(deit, "minmax", 60.0), "calib_source": "psaq"}]).assign(
        bits="w8a8"
    )
    lines = tables(reproduction, frame).splitlines()
    (made,) = (line for line in lines if line.startswith("| PSAQ-ViT "))
    assert "60.00" in made
    assert "32 by psaq" in made
    (drawn,) = (line for line in lines if "70.00" in line)
    assert drawn.startswith("| - ")


def test_the_printed_formula_is_measured_beside_the_released_one():
    """It drives the network away from full precision, so the rows that bear the paper's name take the released loss."""
    for name in ("evolq_table2", "evolq_table3", "evolq_table4", "evolq_table5", "evolq_table6", "evolq_supplement_table1"):
        reproduction = Reproduction.of(PRESETS[name])
        (variant,) = reproduction.variants
        measured = {spec.method for spec in expand(compose_sweep([f"experiment={name}"]).specs)}
        assert variant in measured
        printed = check(variant).steps[-1].method.config
        (named,) = [check(stack).steps[-1].method.config for stack, row in reproduction.rows.items() if "Evol-Q" in row]
        assert (printed.formula, printed.mutation, printed.temperature) == ("paper", "paper", 1.0)
        assert (named.formula, named.mutation) == ("release", "release")
        assert replace(printed, formula="release", mutation="release", temperature=3.0) == named
    frame = pd.DataFrame([row("deit_tiny_patch16_224.fb_in1k", variant, 70.0)]).assign(bits="w4a8")
    assert "variant: Evol-Q, formula and ranges as printed" in tables(reproduction, frame)


def test_minutes_are_those_of_the_search():
    reproduction = Reproduction.of(PRESETS["evolq_table9"])
    frame = pd.DataFrame([row("deit_tiny_patch16_224.fb_in1k", "fqvit+evolq(preset=paper)", 70.0, seconds=90.0)])
    text = tables(reproduction, frame)
    assert "1.50 min (n=1)" in text
    assert "41.5 min" in text


@pytest.mark.slow
def test_the_command_runs_scaled_down(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["harness", "reproduce", "evolq_table2"])
    grid = ["--eval-limit", "50", "--calib", "8", "--quiet", "--device", "cpu"]
    assert main(["reproduce", "evolq_table2", "--method", "fqvit", *grid]) == 0
    out = capsys.readouterr().out
    assert "NOT Evol-Q paper Table 2: its stacks, scaled down to vit_pico" in out
    assert "| FQ-ViT " in out
    assert main(["reproduce", "evolq_table2", "--plan", "--json", "--method", "fqvit", *grid]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 1


PLAN = ["--plan", "--json", "--quiet", "--device", "cpu"]


@pytest.mark.parametrize(
    "words",
    [
        ["evolq_table4", *PLAN, "calib=8", "seed=0", "eval_limit=50"],
        [*PLAN, "evolq_table4", "calib=8", "seed=0", "eval_limit=50"],
        ["calib=8", "evolq_table4", "seed=0", *PLAN, "eval_limit=50"],
        ["calib=8", *PLAN, "seed=0", "eval_limit=50", "evolq_table4"],
    ],
)
def test_words_may_stand_in_any_order(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    assert main(["reproduce", *words]) == 0
    assert json.loads(capsys.readouterr().out)["to_run"] == 3


def test_two_names_are_one_too_many(capsys):
    assert main(["reproduce", "evolq_table2", "--plan", "evolq_table3"]) == 2
    assert "several names: 'evolq_table2', 'evolq_table3'" in capsys.readouterr().err


def test_rows_beside_the_grid_are_planned_unless_a_method_is_chosen(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    words = ["evolq_table2", *PLAN, "calib=8", "eval_limit=50"]
    assert main(["reproduce", *words]) == 0
    assert json.loads(capsys.readouterr().out)["to_run"] == 6
    assert main(["reproduce", *words, "method=fqvit"]) == 0
    assert json.loads(capsys.readouterr().out)["to_run"] == 1


def test_the_list_and_a_misspelt_name(capsys):
    assert main(["reproduce"]) == 0
    assert "evolq_supplement_table1" in capsys.readouterr().out
    assert main(["reproduce", "evolq_tabel3"]) == 2
    assert "Did you mean evolq_table3" in capsys.readouterr().err
    assert main(["reproduce", "smoke"]) == 2
    assert "harness sweep --experiment" in capsys.readouterr().err
