"""The committed leaderboard is what the documented command makes of the committed records, and README shows its numbers."""

import json
import re
from itertools import product
from pathlib import Path

import pandas as pd

from benchmarks.pages.searches import searches
from benchmarks.pages.sections import PAGES, sections, written
from harness.cli.main import main
from tests.shared import DEIT, IMAGES, VIT, requires_images

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


def test_pages_show_what_the_records_give():
    known = sections()
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert "<!-- end -->" in text
        assert written(text, known) == text, "run python -m benchmarks.pages"


def test_searches_are_compared_with_the_stack_before_them_at_the_same_seed(tmp_path):
    start = "a_patch16,{bits},8,{seed},fqvit,{candidate},{db},90.0,1.0"
    measured = [("w3a8", 0, "-", 1.0), ("w3a8", 1, "-", 5.0), ("w8a8", 0, "-", 20.0)]
    measured += [("w3a8", 0, "evolq", 1.5), ("w3a8", 1, "evolq", 5.1), ("w8a8", 0, "evolq", 19.9)]
    rows = [start.format(bits=bits, seed=seed, candidate=one, db=db) for bits, seed, one, db in measured]
    (tmp_path / "s.csv").write_text("network,bits,calib,seed,stack,candidate,sqnr_db,agreement,seconds\n" + "\n".join(rows))
    (line,) = searches(tmp_path / "s.csv").splitlines()[2:]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        *("`a`", "8", "`fqvit`", "`evolq`"),
        *("-0.10 (1)", "-", "+0.30 ± 0.28 (2)"),
    ]


def test_the_table_has_the_means_of_the_records():
    """Against means taken straight from the committed rows."""
    rows = pd.read_parquet(RESULTS / "records.parquet")
    shown = sections()["accuracies"]
    compared = 0
    for (stack, bits), part in rows.groupby(["stack", "bits"]):
        (line,) = (line for line in shown.splitlines() if line.startswith(f"| `{stack}` "))
        place = [cell.strip() for cell in shown.splitlines()[0].strip("|").split("|")].index(bits)
        cell = line.strip("|").split("|")[place]
        assert f"{part['top1'].mean():.2f} ± {part['top1'].std():.2f}" in cell, (stack, bits)
        compared += 1
    assert compared == 14 * 4


def test_the_steps_are_what_compare_says(tmp_path, capsys):
    store = ["--store", str(tmp_path / "store")]
    assert main(["store", "import", str(RESULTS / "records.parquet"), "--origin", "committed", *store]) == 0
    capsys.readouterr()
    assert main(["compare", "fqvit", "fqvit+omse", "--json", *store]) == 0
    pairs = json.loads(capsys.readouterr().out)
    lines = [line for line in sections()["steps"].splitlines() if "| `omse`" in line]
    assert len(pairs) == len(lines) == 4
    for pair in pairs:
        bits, interval = pair["setting"].split(", ")[1], pair["difference"]["interval"]
        (line,) = (line for line in lines if f"| {bits} " in line)
        assert f"{interval['low']:+.2f} to {interval['high']:+.2f}" in line
        assert f"{interval['value']:+.2f}" in line


def planned(capsys, *words):
    """How many trials of an experiment there are, and how many the committed records have."""
    assert main(["plan", *words, "--trust-imported", "--json", "--quiet"]) == 0
    facts = json.loads(capsys.readouterr().out)
    return facts["done"] + facts["imported"], facts["trials_total"]


def test_every_trial_of_the_embedded_board_is_done(tmp_path, capsys):
    """A raised version of a method, of the identity or of the arithmetic means measuring again."""
    store = ["--store", str(tmp_path / "store")]
    assert main(["store", "import", str(RESULTS / "records.parquet"), "--origin", "committed", *store]) == 0
    capsys.readouterr()
    done, total = planned(capsys, "--experiment", "embedded", *store)
    assert done == total > 100


def test_every_trial_of_the_peers_is_done(tmp_path, capsys):
    store = ["--store", str(tmp_path / "store")]
    assert main(["store", "import", str(RESULTS / "peers" / "records.parquet"), "--origin", "committed", *store]) == 0
    capsys.readouterr()
    done, total = planned(capsys, "--experiment", "peers", *store)
    assert done == total > 34


@requires_images
def test_every_trial_on_the_photographs_is_done(tmp_path, capsys):
    store = ["--store", str(tmp_path / "store")]
    records = RESULTS / "photographs" / "records.parquet"
    assert main(["store", "import", str(records), "--origin", "committed", *store]) == 0
    capsys.readouterr()
    both = (("photographs", 75), ("rotated", 20), ("reconstructions", 17), ("four_bit_peers", 3))
    single = [(DEIT, ("more_reconstructions", 7)), (DEIT, ("three_bit_steps", 2)), (VIT, ("rotated_values", 7))]
    for network, (experiment, fewer) in [*product((DEIT, VIT), both), *single]:
        named = ["--model", network.stem, "--weights", str(network), "--data", str(IMAGES)]
        done, total = planned(capsys, "--experiment", experiment, *named, *store)
        assert done == total > fewer, (network.stem, experiment)
