"""Interleaved timing, on made-up clocks and numbers."""

import numpy as np
import pytest
from scipy.stats import binom

from harness.deploy.timing import compare, interleaved, median_interval, repeats_for, sample


class Machine:
    """A made-up clock that runs on by what each piece of work takes."""

    def __init__(self):
        self.now, self.done, self.slow = 0.0, [], 1.0

    def clock(self):
        return self.now

    def work(self, name, seconds):
        def run():
            self.now += seconds * self.slow
            self.done.append(name)

        return run


def test_the_ratio_and_the_times():
    machine = Machine()
    found = compare(machine.work("f", 0.02), machine.work("q", 0.01), 9, 2, 0, machine.clock)
    assert (found.rounds, found.repeats) == (9, 1)
    assert (found.first, found.second, found.ratio) == pytest.approx((0.02, 0.01, 0.5))
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))
    assert machine.done[:4] == ["f", "q", "f", "q"], "warmed up first"
    assert len(machine.done) == 4 + 2 + 18


def test_a_machine_that_slows_down_slows_both():
    machine = Machine()
    first, second = machine.work("f", 0.02), machine.work("q", 0.015)

    def slower():
        first()
        machine.slow *= 1.0001

    found = compare(slower, second, 200, 0, 0, machine.clock)
    assert found.ratio == pytest.approx(0.75, rel=1e-3)
    assert found.low > 0.749
    assert found.first > 0.0201, "times alone say another thing at the end than at the start"


def test_who_begins_a_round_is_drawn():
    machine = Machine()
    interleaved(machine.work("f", 1.0), machine.work("q", 1.0), 100, 1, 3, machine.clock)
    firsts = machine.done[::2]
    assert 30 < firsts.count("f") < 70
    assert all({*pair} == {"f", "q"} for pair in zip(machine.done[::2], machine.done[1::2], strict=True))
    other = Machine()
    interleaved(other.work("f", 1.0), other.work("q", 1.0), 100, 1, 3, other.clock)
    assert other.done == machine.done, "the seed decides"


def test_pairs_are_in_order_whoever_begins():
    machine = Machine()
    pairs = interleaved(machine.work("f", 2.0), machine.work("q", 1.0), 20, 3, 0, machine.clock)
    assert np.allclose(pairs, [(2.0, 1.0)] * 20)


def test_short_runs_are_repeated_until_a_clock_can_tell():
    assert (repeats_for(0.001), repeats_for(1.0), repeats_for(1e-12)) == (5, 1, 10_000)
    machine = Machine()
    assert sample(machine.work("f", 0.001), 7, machine.clock) == pytest.approx(0.001)
    assert sample(lambda: None, 1, machine.clock) > 0, "a clock that does not move"


@pytest.mark.parametrize("count", [*range(1, 31), 101, 2000])
def test_the_interval_is_that_of_order_statistics(count):
    values = np.random.default_rng(count).permutation(count).astype(float).tolist()
    found, low, high = median_interval(values)
    place = max([k for k in range(1, count // 2 + 2) if binom.cdf(k - 1, count, 0.5) <= 0.025] or [1])
    assert (low, high) == (place - 1, count - place)
    assert found == np.median(values)
    assert low <= found <= high


def test_the_interval_holds_the_median_as_often_as_it_says():
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        _, low, high = median_interval(generator.exponential(size=40).tolist())
        held += low <= np.log(2) <= high
    assert held / 400 > 0.93
