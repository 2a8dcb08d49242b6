"""A stack for deployment through the command line: its record says what is quantized, and boards tell placements apart."""

import csv
import json

import pytest

from harness.cli.main import main

SMALL = ["--bits", "w4a8", "--calib", "8", "--eval-limit", "20", "--quiet"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "runs"))
    return tmp_path


def recorded(capsys, stack):
    assert main(["run", "--method", stack, *SMALL, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_a_stack_for_deployment_end_to_end(place, capsys):
    stacks = [f"minmax{settings}+omse+gptq" for settings in ("", "(sites=operands)", "(sites=deploy)")]
    records = [recorded(capsys, stack) for stack in stacks]
    assert [record["stack"] for record in records] == stacks
    quantized = {row["tensors"]: row for row in records[2]["coverage"] if row["quantized"]}
    assert {name: row["quantized"] for name, row in quantized.items()} == {
        "operands from the image": 1,
        "weights": 14,
        "operands from layer_norm": 13,
        "attention weights": 12,
        "operands from matmul": 6,
        "operands from activation": 6,
    }
    assert all(row["quantized"] == row["total"] for row in quantized.values())
    assert {row["granularity"][0] for name, row in quantized.items() if "weights" in name} == {"channel"}
    assert {row["granularity"][0] for name, row in quantized.items() if "operands" in name} == {"tensor"}
    assert {row["grid"] for row in records[2]["grid"]} == {"integer"}
    assert main(["report", "--quiet", "--out", str(place / "report")]) == 0
    with (place / "report" / "leaderboard.csv").open() as file:
        rows = {row["stack"]: row["coverage"] for row in csv.DictReader(file)}
    assert set(rows) == set(stacks)
    assert len(set(rows.values())) == len(stacks)


def test_a_placement_that_a_scheme_has_not_is_one_line(place, capsys):
    assert main(["run", "--method", "fqvit(sites=deploy)", *SMALL]) == 2
    assert "fix: use minmax(sites=deploy)" in capsys.readouterr().err
