"""The committed leaderboard is what the documented command makes of the committed records, and README shows its numbers."""

import re
from pathlib import Path

import pandas as pd

from harness.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "leaderboard" / "results"


def test_the_leaderboard_is_made_from_the_records(tmp_path, capsys):
    records = RESULTS / "records.parquet"
    assert main(["report", "--records", str(records), "--out", str(tmp_path), "--format", "md,csv,latex", "--quiet"]) == 0
    made = (tmp_path / "README.md").read_text()
    kept = (RESULTS / "README.md").read_text()
    assert made.strip() == kept.partition("\n\n![")[0].strip(), "run the command in docs/leaderboards.md again"
    for name in ("leaderboard.csv", "leaderboard.tex"):
        assert (tmp_path / name).read_text() == (RESULTS / name).read_text(), name


def test_pictures_are_there():
    shown = re.findall(r"!\[[^]]*\]\(([^)]*)\)", (RESULTS / "README.md").read_text())
    assert len(shown) >= 3
    assert all((RESULTS / name).is_file() for name in shown)


def test_readme_shows_the_same_numbers():
    long = pd.read_csv(RESULTS / "leaderboard.csv")
    section = (ROOT / "README.md").read_text().partition("## A real result")[2].partition("\n## ")[0]
    table = section.partition("\n\n|")[2].partition("\n\n")[0].splitlines()
    names = [cell.strip() for cell in table[0].strip("|").split("|")]
    compared = 0
    for line in table[2:]:
        stack, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for bits, shown in zip(names[1:], cells, strict=True):
            (row,) = long[(long["stack"] == stack.strip("`")) & (long["bits"] == bits)].to_dict("records")
            mean, deviation = re.findall(r"-?\d+\.\d+", shown)[:2]
            assert (mean, deviation) == (f"{row['top1_mean']:.2f}", f"{row['top1_sd']:.2f}"), (stack, bits)
            assert ("**" in shown, "≈" in shown) == (row["mark"] == "best", row["mark"] == "tied"), (stack, bits)
            compared += 1
    assert compared == 14 * 3
