"""Who goes on, who is chosen, and what is never looked at."""

import subprocess
import sys

import pytest

from harness.errors import UsageError
from harness.recommend.choice import chosen, front, nearest_miss, preferred
from harness.recommend.halving import Outcome, halve, rounds
from harness.recommend.limits import Limits
from harness.recommend.portfolio import Candidate, check_portfolio, read_portfolio


def record(merit, size=1000, drop=0.5, seconds=1.0, status="done"):
    """As much of a record as is looked at."""
    return {
        "id": "0" * 16,
        "status": status,
        "metrics": {"logit_sqnr_db": merit},
        "size_bytes": size,
        "expected_drop": {"value": drop, "low": 0.0, "high": 2 * drop},
        "stages": [{"name": "minmax", "seconds": seconds}, {"name": "evaluate", "seconds": 100.0}],
        "error": {"kind": "bug", "message": "it broke"},
    }


def outcome(name, merit, bits="w8a8", **more):
    return Outcome(Candidate(name, bits), 16, record(merit, **more))


def runner(merits, seen):
    def run(candidate, calib):
        seen.append((candidate.stack, calib))
        return outcome(candidate.stack, merits[candidate.stack], candidate.bits)

    return run


@pytest.mark.parametrize(("calib", "expected"), [(1, [1]), (16, [16]), (17, [16, 17]), (256, [16, 64, 256])])
def test_rounds_end_with_all_calibration_images(calib, expected):
    assert rounds(calib) == expected


def test_the_better_half_of_every_width_goes_on():
    merits = {name: float(number) for number, name in enumerate("abcd")}
    candidates = [Candidate(name, bits) for bits in ("w8a8", "w4a8") for name in "abcd"]
    seen = []
    outcomes = halve(candidates, 256, runner(merits, seen), Limits(), lambda record: "")
    assert seen == [(name, 16) for name in "abcdabcd"] + [(name, 64) for name in "cdcd"] + [(name, 256) for name in "dd"]
    assert [one.reason != "" for one in outcomes] == [True, True, True, False] * 2
    assert outcomes[0].reason == "not in the better half of w8a8"


def test_a_candidate_that_fails_or_breaks_a_limit_for_good_is_out_at_once():
    found = {
        "fails": record(1, status="failed"),
        "large": record(1, size=2000),
        "slow": record(1, seconds=9.0),
        "lossy": record(1, drop=9.0),
        "refused": record(0.5),
    }

    def run(candidate, calib):
        return Outcome(candidate, calib, found[candidate.stack])

    limits = Limits(drop=1, size=1500, seconds=5)
    refused = lambda one: "no kernel" if one is found["refused"] else ""  # noqa: E731
    outcomes = halve([Candidate(name, "w8a8") for name in found], 16, run, limits, refused)
    reasons = {one.candidate.stack: one.reason for one in outcomes}
    assert reasons == {
        "fails": "failed (bug): it broke",
        "large": "2,000 bytes, at most 1,500 allowed",
        "slow": "9.0 s to quantize, at most 5 allowed",
        "lossy": "",
        "refused": "no kernel",
    }
    assert limits.broken(found["lossy"]) == ["expected to lose 9.00 points, at most 1 allowed"]


def test_the_smallest_within_the_drop_or_the_most_accurate_within_the_size():
    outcomes = [
        outcome("wide", 40.0, size=1000, drop=0.1),
        outcome("narrow", 20.0, size=500, drop=0.9),
        outcome("narrower by its scales", 19.0, size=495, drop=0.9),
        outcome("too lossy", 5.0, size=250, drop=3.0),
    ]
    assert preferred(Limits(drop=1)) == "size"
    assert preferred(Limits(drop=1, size=600)) == preferred(Limits()) == "accuracy"
    assert chosen(outcomes, Limits(drop=1), "size").candidate.stack == "narrow"
    assert chosen(outcomes, Limits(drop=1), "accuracy").candidate.stack == "wide"
    assert chosen(outcomes, Limits(drop=0.01), "size") is None
    assert nearest_miss(outcomes, Limits()).candidate.stack == "wide"
    assert [one.candidate.stack for one in front(outcomes)] == ["too lossy", "narrower by its scales", "narrow", "wide"]


def test_an_exact_network_has_the_highest_merit():
    assert outcome("fp32", None).merit > outcome("minmax", 90.0).merit


def test_the_built_in_portfolio_is_understood_and_widths_can_be_replaced():
    candidates = read_portfolio(None)
    assert len(candidates) == len(set(candidates)) > 20
    assert {one.bits for one in read_portfolio(None, ["w5a7"])} == {"w5a7"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipes: []", "has no recipes"),
        ("[1, 2]", "has no recipes"),
        ("recipes: [minmax]", "recipe 1 of portfolio .* is 'minmax'"),
        ("recipes: [{method: minmax, bits: w8a8}]", "recipe 1 of portfolio"),
        ("recipes: [{method: minmax, bits: []}]", "recipe 1 of portfolio"),
        ("recipes: [{method: minmx, bits: [w8a8]}]", r"recipe 1 of portfolio .*mine.yaml': (.|\n)*minmax"),
        ("recipes: [{method: minmax, bits: [w8a8]}, {method: minmax, bits: [w8]}]", "recipe 2 of portfolio .*: bits 'w8'"),
        ("recipes: [{method: minmax+, bits: [w8a8]}]", "recipe 1 of portfolio .*: stack 'minmax[+]'"),
        ("recipes: [", "is no YAML"),
    ],
)
def test_a_portfolio_that_is_not_understood(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    for read in (read_portfolio, check_portfolio):
        with pytest.raises(UsageError, match=message):
            read(path)


def test_settings_of_a_portfolio_are_looked_at_with_the_methods(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("recipes: [{method: minmax, bits: [w8a8]}, {method: fqvit(foo=1), bits: [w8a8]}]")
    check_portfolio(path)
    with pytest.raises(UsageError, match=r"recipe 2 of portfolio .*: stack (.|\n)*no setting 'foo'"):
        read_portfolio(path)


def test_widths_that_replace_those_of_the_file_are_no_mistake_of_the_file():
    for read in (read_portfolio, check_portfolio):
        with pytest.raises(UsageError, match=r"^bits 'w4' not understood"):
            read(None, ["w4"])


def test_a_portfolio_is_checked_before_torch_is_there(tmp_path):
    """Seconds pass until torch is loaded: a misspelt method needs none of them."""
    (tmp_path / "mine.yaml").write_text("recipes: [{method: repqvitt, bits: [w8a8]}]")
    code = (
        "import sys; from harness.cli.main import main; "
        f"code = main(['recommend', '--portfolio', {str(tmp_path / 'mine.yaml')!r}, '--quiet']); "
        "print(code, 'torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "2 False\n"
    assert "recipe 1 of portfolio" in ended.stderr


def test_a_portfolio_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_portfolio(tmp_path / "none.yaml")


def test_limits_below_zero():
    with pytest.raises(UsageError, match="--max-drop -1 is not possible: expected 0 or more"):
        Limits(drop=-1)
    with pytest.raises(UsageError, match="--max-drop nan"):
        Limits(drop=float("nan"))
