"""The survey of timm's families: the page shows what its script measured, and what it claims holds."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "survey.py"


@pytest.fixture(scope="module")
def survey():
    return runpy.run_path(str(SCRIPT))


def test_the_page_shows_the_rows(survey):
    text = survey["PAGE"].read_text(encoding="utf-8")
    assert survey["page"](survey["read_rows"](survey["TABLE"]), text) == text


def test_every_family_is_there_and_nearly_all_run(survey):
    rows = survey["read_rows"](survey["TABLE"])
    assert sorted(row.family for row in rows) == sorted(survey["networks"]())
    assert sum(row.runs for row in rows) >= 0.95 * len(rows)
    assert all(row.runs or row.refused for row in rows), "what does not run is refused before any work"
    assert not [row for row in rows if "BUG" in row.refused]


def test_a_row_runs_only_if_everything_is_right(survey):
    numbers = {"exact": "yes", "float32": "0.0e+00", "minmax": "3.1", "fqvit": "-2.0", "repqvit": "9.0", "operands": "30.5"}
    row = survey["Row"]("family", "network", **numbers)
    assert row.runs
    for change in ({"exact": "no"}, {"float32": "2.0e-02"}, {"fqvit": "not finite"}, {"repqvit": ""}):
        assert not replace(row, **change).runs


def test_rows_come_back_from_the_file(survey, tmp_path):
    row = survey["Row"]("family", "network", other="cumsum.default x2", refused="operation a, b draws random numbers")
    survey["append"](tmp_path / "rows.csv", row)
    survey["append"](tmp_path / "rows.csv", replace(row, family="second"))
    assert survey["read_rows"](tmp_path / "rows.csv") == [row, replace(row, family="second")]
    text = survey["page"](survey["read_rows"](tmp_path / "rows.csv"), "<!-- survey: begin --><!-- survey: end -->")
    assert "0 of 2 families (0 %)" in text
    assert "- `network`: operation a, b draws random numbers" in text
