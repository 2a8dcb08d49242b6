"""``benchmarks/on_gpu.py`` on the CPU with tiny sizes: the whole path, so that it works where there is a GPU."""

import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "on_gpu.py"


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, words)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.mark.slow
def test_every_part_gives_its_figures(monkeypatch, capsys, tmp_path):
    out = tmp_path / "figures.csv"
    run(monkeypatch, "--device", "cpu", "--model", "embedded", "--quick", "--out", out)
    rows = pd.read_csv(out)
    assert list(dict.fromkeys(rows["part"])) == ["conformance", "forward", "calibration", "search", "block"]
    here = rows[rows["case"].str.contains("CPU against cpu")]
    assert (here.loc[here["figure"] == "equal labels, %", "value"] == 100).all(), "one machine is equal to itself"
    assert rows["value"].notna().all()
    assert (rows.loc[rows["low"].notna(), "low"] > 0).all()
    shown = capsys.readouterr().out
    assert "| search " in shown
    assert "embedded on cpu" not in shown, "the processor has a name"


def test_parts_that_would_begin_too_late_say_so(monkeypatch, capsys):
    run(monkeypatch, "--device", "cpu", "--model", "embedded", "--quick", "--only", "search", "block", "--limit", "-1")
    assert capsys.readouterr().out.count("left out") == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_one_line(monkeypatch):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "--quick")
    assert stop.value.code == "error: torch finds no CUDA device here (--device cpu runs it on the processor)"
