"""Keeping a process on cores, and what others do on them."""

import os
import subprocess
import sys

import pytest

from harness.errors import UsageError
from harness.machine.cores import Ticks, cpu_flags, is_quiet, least_used, others_between, pinned, siblings, ticks


def test_the_least_used_cores_are_taken_each_of_another_physical_one():
    physical = {0: "0,1", 1: "0,1", 2: "2,3", 3: "2,3"}
    assert least_used([0, 1, 2, 3], {0: 90.0, 1: 1.0, 2: 5.0, 3: 2.0}, physical, 2) == [1, 3]
    assert least_used([0, 1, 2, 3], {0: 0.0, 1: 0.0, 2: 0.0, 3: 0.0}, physical, 3) == [0, 1, 2]
    assert least_used([0, 1], {0: 50.0}, {}, 1) == [1], "what is not known counts as idle"
    assert least_used([4, 6], {}, {4: "4", 6: "6"}, 2) == [4, 6]


def test_cores_of_a_system_that_does_not_say(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.machine.cores.TOPOLOGY", tmp_path)
    file = tmp_path / "cpu0" / "topology" / "thread_siblings_list"
    file.parent.mkdir(parents=True)
    file.write_text("0-1\n")
    assert siblings([0, 1]) == {0: "0-1", 1: "1"}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_is_kept_on_cores_and_let_go():
    before = os.sched_getaffinity(0)
    with pinned(1) as kept:
        assert kept
        assert len(os.sched_getaffinity(0)) == 1
        code = "import os; print(len(os.sched_getaffinity(0)))"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"
    assert os.sched_getaffinity(0) == before
    with pytest.raises(RuntimeError), pinned(1):
        raise RuntimeError
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_more_threads_than_cores():
    have = len(os.sched_getaffinity(0))
    said = f"{have + 1} threads asked for, this process may use {have} cores"
    with pytest.raises(UsageError, match=said), pinned(have + 1):
        pass


def test_a_system_without_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pinned(1) as kept:
        assert not kept


def test_what_others_did():
    start = Ticks(10.0, 100.0, 5.0)
    assert others_between(start, Ticks(20.0, 125.0, 15.0)) == 1.5
    assert others_between(start, Ticks(20.0, 109.0, 15.0)) == 0.0, "counters tick at different moments"
    assert others_between(start, start) is None


def test_a_quiet_machine():
    assert is_quiet(None, 4) is None
    assert (is_quiet(0.1, 2), is_quiet(0.11, 2)) == (True, False)
    assert (is_quiet(3.0, 64), is_quiet(3.3, 64)) == (True, False)
    assert is_quiet(0.05, None) is True


def test_counters_go_up():
    first = ticks()
    sum(range(10**6))
    second = ticks()
    assert second.clock > first.clock
    assert second.busy >= first.busy
    assert second.own >= first.own


def test_flags_are_sorted_and_once():
    found = cpu_flags()
    assert found == sorted(set(found))
