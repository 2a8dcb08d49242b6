"""The committed leaderboard is what the documented command makes of the committed records, and README shows its numbers."""

import json
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


def test_the_results_page_says_what_compare_finds(tmp_path, capsys):
    store = ["--store", str(tmp_path / "store")]
    assert main(["store", "import", str(RESULTS / "records.parquet"), "--origin", "committed", *store]) == 0
    section = (ROOT / "docs" / "results.md").read_text().partition("## Two ImageNet networks")[0]
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in section.splitlines() if "| `" in line
    ]
    assert len(rows) == 10
    found = {}
    for bits, step, below, *shown in rows:
        if (step, below) not in found:
            capsys.readouterr()
            assert main(["compare", below, f"{below}+{step}", "--json", *store]) == 0
            found[step, below] = {pair["setting"].split(", ")[1]: pair for pair in json.loads(capsys.readouterr().out)}
        pair = found[step, below][bits]
        verdict = {"the second is better": "better", "the first is better": "worse"}.get(pair["verdict"], pair["verdict"])
        intervals = [f"{one['low']:+.2f} to {one['high']:+.2f}" for one in (pair["difference"], pair["over_seeds"])]
        assert shown == [f"{pair['difference']['value']:+.2f}", *intervals, verdict], (bits, step)
