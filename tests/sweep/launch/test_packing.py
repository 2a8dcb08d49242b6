"""Packing: every trial in exactly one job, networks apart, families together where they fit."""

from hypothesis import given
from hypothesis import strategies as st

from harness.sweep.cells import PlanCell
from harness.sweep.estimate import CostEstimate
from harness.sweep.launch.packing import pack
from harness.trial.spec import TrialSpec


def cell(index, model="m", seed=0, steps=1):
    return PlanCell(TrialSpec("x", model=model, seed=seed), f"{index:04d}", "to run", prefixes=("p",) * steps)


cells = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(1, 4)), max_size=30).map(
    lambda rows: [cell(i, model, seed, steps) for i, (model, seed, steps) in enumerate(rows)]
)


@given(cells, st.floats(10, 5000), st.integers(0, 5), st.floats(1, 2000))
def test_nothing_is_lost_and_limits_hold(trials, limit, most, seconds):
    costs = {trial.id: CostEstimate(seconds, True) for trial in trials}
    packs = pack(trials, costs, seconds=limit, most=most)
    assert sorted(trial.id for members in packs for trial in members) == sorted(trial.id for trial in trials)
    for members in packs:
        assert members
        assert len({trial.spec.model for trial in members}) == 1
        assert len(members) <= most if most else len(members) == 1 or len(members) * seconds <= limit


def test_a_family_stays_together_in_the_order_of_its_ladder():
    trials = [cell(i, seed=seed, steps=steps) for i, (seed, steps) in enumerate([(0, 3), (1, 1), (0, 1), (1, 2), (0, 2)])]
    packs = pack(trials, {}, seconds=3 * 900)
    assert [[(t.spec.seed, len(t.prefixes)) for t in members] for members in packs] == [
        [(0, 1), (0, 2), (0, 3)],
        [(1, 1), (1, 2)],
    ]
