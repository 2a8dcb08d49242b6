"""The page on scale shows what its script makes of the measured figures, and its arithmetic holds."""

import json
import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "scale_page.py"


@pytest.fixture(scope="module")
def scale():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def facts(scale):
    return json.loads(scale["FACTS"].read_text(encoding="utf-8"))


def test_the_page_is_what_the_figures_say(scale, facts):
    assert scale["PAGE"].read_text(encoding="utf-8") == scale["rendered"](facts)


def test_a_part_that_was_not_measured_is_named(scale, facts):
    with pytest.raises(ValueError, match="has no sizes, stores: run"):
        scale["rendered"]({name: facts[name] for name in ("networks", "calls", "trial")})


def test_grids_count_trials_and_the_states_that_stacks_share(scale, facts):
    supplement, families = scale["grids"](facts["networks"])
    assert (supplement.trials, families.trials) == (4 * 5 * 3 * 3, 19 * 6 * 3 * 3)
    assert len(families.prefixes) == 6, "minmax, the four of the ladder, repqvit"
    assert ("fqvit", "omse") in families.prefixes


def test_hours_follow_from_operations_passes_and_the_assumed_gpu(scale):
    steps = {"minmax": {"seconds": 2.0}, "evolq": {"seconds": 6.0}}
    facts = {"networks": {"n": {"flops": 1e9, "blocks": 24}}, "trial": {"full": 0.5, "quantized": 0.75, "steps": steps}}
    costs = scale["Costs"](facts, scale["Assumed"](peak=10e12, share=0.5))
    assert costs.evaluation == 1.5
    assert costs.step("minmax", "n") == 4.0
    assert costs.step("evolq as printed", "n") == 12.0 * scale["PASSES"] * 24 / scale["BLOCKS"]
    assert costs.hours("n", 18e6) == pytest.approx(1.0)
    grid = scale["Grid"]("", ["n"], [("minmax",), ("minmax", "evolq")], widths=1, seeds=2, calib=100)
    work = costs.work(grid)
    assert work["search"] == pytest.approx(costs.hours("n", 2 * 100 * costs.step("evolq", "n")))
    assert work["calibration"] == pytest.approx(costs.hours("n", 2 * 100 * 4.0)), "shared by both stacks"
    assert work["full precision, once a network"] == pytest.approx(costs.hours("n", 50_000))


def test_what_was_not_measured_at_a_size_says_what_it_is_in_proportion_to(scale):
    rows = {"import": {"cpu": 4.0, "megabytes": 800}, "status": {"cpu": 3.0, "megabytes": 150}}
    rows |= {"plan, all done": {"cpu": 9.0, "megabytes": 900}}
    stores = [{"trials": 20_000, "rows": rows}]
    assert scale["took"](stores, "status", 20_000, "cpu") == "3 s"
    assert scale["took"](stores, "status", 100_000, "cpu") == "15 s (in proportion to 20,000 trials)"
    assert scale["took"](stores, "plan, all done", 100_000, "cpu") == "29 s (in proportion to 20,000 trials)"
    assert scale["took"](stores, "plan, all done", 100_000, "megabytes") == "1,300 MB (in proportion to 20,000 trials)"
