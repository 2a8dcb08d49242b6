"""The script that ranks settings: starts are shared, results resumable, gains paired by seed."""

import json
import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "choose_settings.py"
PLAN = SCRIPT.with_name("evolq_helps.yaml")
STAGE = {
    "stage": "one",
    "networks": ["embedded"],
    "bits": ["w3a8", "w4a8"],
    "calib": [8],
    "seeds": [0, 1],
    "stacks": ["minmax"],
}


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT), run_name="script")


def test_each_point_once_the_stack_alone_before_its_candidates(script):
    points = script["points_of"](
        [{**STAGE, "candidates": ["evolq", "omse"]}, {**STAGE, "candidates": ["evolq", "biascorr"]}]
    )
    assert len(points) == len({point.key for point in points}) == 4 * 4
    assert [point.candidate for point in points[:3]] == ["-", "evolq", "omse"]
    parts = [script["_shared"](points, f"{part}/3") for part in range(3)]
    assert sorted(point.key for part in parts for point in part) == sorted(point.key for point in points)


def test_the_plan_of_where_evolq_helps_is_made_of_checked_stacks(script):
    import yaml

    from harness.method.stack import check
    from harness.trial.bits import Bits

    plan = yaml.safe_load(PLAN.read_text(encoding="utf-8"))
    points = script["points_of"](plan)
    for stack, candidate in {(point.stack, point.candidate) for point in points}:
        check(stack if candidate == "-" else f"{stack}+{candidate}")
    assert {point.bits for point in points} == {"w8a8", "w4a8", "w3a8"} == {str(Bits.parse(point.bits)) for point in points}
    assert {point.seed for point in points} == {0, 1, 2}
    assert {64, 128, 256, 400} == {point.calib for point in points}


def row(candidate, seed, sqnr, agreement=90.0):
    about = {"stage": "one", "network": "embedded", "bits": "w3a8", "calib": 8, "stack": "minmax"}
    return {**about, "candidate": candidate, "seed": seed, "sqnr_db": sqnr, "agreement": agreement, "seconds": 2.0}


def test_gains_are_paired_by_seed_and_ranked(script):
    rows = [row("-", 0, 10.0), row("-", 1, 20.0), row("omse", 0, 10.5), row("omse", 1, 20.7), row("evolq", 1, 21.0, 92.0)]
    lines = list(script["tables"](rows))
    ranked = [line.split() for line in lines if "omse" in line or "evolq" in line]
    assert [line[0] for line in ranked] == ["evolq", "omse"]
    assert ranked[0][1:] == ["+1.000", "-", "+2.00", "1", "2"]
    assert ranked[1][1:] == ["+0.600", "0.14", "+0.00", "2", "2"]


def test_a_second_run_goes_on(script, tmp_path, capsys):
    out = tmp_path / "results.jsonl"
    out.write_text(json.dumps(row("-", 0, 10.0)) + "\n" + '{"stage": "cut off', encoding="utf-8")
    assert len(script["read"](out)) == 1
    assert "unfinished line" in capsys.readouterr().out

    measured = []

    class Bench:
        def measure(self, point):
            measured.append(point.candidate)
            return row(point.candidate, point.seed, 11.0)

    plan = [{**STAGE, "bits": ["w3a8"], "seeds": [0], "candidates": ["omse", "evolq"]}]
    script["_measure"](script["points_of"](plan), Bench(), out)
    assert measured == ["omse", "evolq"]
    script["_measure"](script["points_of"](plan), Bench(), out)
    assert measured == ["omse", "evolq"], "nothing twice"


@pytest.mark.slow
def test_a_measurement_on_the_embedded_network(script, tmp_path):
    bench = script["Bench"](tmp_path, "embedded")
    plan = [{**STAGE, "bits": ["w3a8"], "seeds": [0], "candidates": ["omse"]}]
    alone, omse = (bench.measure(point) for point in script["points_of"](plan))
    assert alone["sqnr_db"] != omse["sqnr_db"]
    assert 0 < alone["sqnr_db"] < 60
    assert 0 < alone["agreement"] <= 100
    assert "images per second" in list(script["estimate"](script["points_of"](plan), bench))[-1]
