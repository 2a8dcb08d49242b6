"""Arrays: the limit of jobs at a time holds over all; jobs that a killed submission did not note are found by name."""

from hypothesis import given
from hypothesis import strategies as st

from harness.sweep.launch.arrays import SubmittedArray, array_name, divide
from harness.sweep.launch.options import SlurmOptions
from harness.sweep.launch.queue import look
from harness.sweep.launch.slurm import adopt
from harness.sweep.status import counts, states_of
from tests.sweep.launch.swept import mocked, spec, swept

earlier = st.lists(st.integers(1, 40).map(lambda slots: SubmittedArray(str(slots), slots)), max_size=3)


@given(st.integers(1, 200), st.integers(1, 50), st.integers(1, 64), earlier)
def test_the_limit_holds_over_all_arrays(packs, largest, limit, before):
    arrays = divide(packs, largest, limit, before)
    covered = [pack for array in arrays for pack in range(array.first, array.first + array.count)]
    assert covered == list(range(packs))
    assert all(1 <= array.count <= largest and array.parallel >= 1 for array in arrays)
    heads = [array for array in arrays if array.follows is None]
    waits = {array.after for array in heads}
    assert len(waits) == 1, "all lanes wait for the same jobs"
    beside = sum(array.slots for array in before) if waits == {()} else 0
    assert sum(array.parallel for array in heads) + beside <= limit
    for number, array in enumerate(arrays):
        if array.follows is not None:
            assert array.follows < number, "it can only wait for what was submitted before"
            assert array.parallel == arrays[array.follows].parallel, "an array takes over the share of the one it follows"


def test_three_arrays_and_two_at_a_time():
    arrays = divide(7, 3, 2)
    assert [(array.first, array.count, array.parallel, array.follows) for array in arrays] == [
        (0, 3, 1, None),
        (3, 3, 1, None),
        (6, 1, 1, 0),
    ]


def test_a_later_submission_takes_what_is_free_or_waits():
    few, many = [SubmittedArray("7", 10)], [SubmittedArray("7", 60)]
    (array,) = divide(500, 1000, 64, few)
    assert (array.parallel, array.after) == (54, ())
    (array,) = divide(500, 1000, 64, many)
    assert (array.parallel, array.after) == (64, ("7",))
    (array,) = divide(4, 1000, 64, many)
    assert (array.parallel, array.after) == (4, ()), "four jobs fit beside sixty"


def test_jobs_that_were_not_noted_are_found_by_name(store, monkeypatch):
    """The submitting process was killed after sbatch: of two arrays one is noted, and the other's jobs have no pickles."""
    facts = [{"first": 0, "count": 2, "parallel": 1}, {"first": 2, "count": 3, "parallel": 1}]
    sweep, submission = swept(store, [spec(seed=seed) for seed in range(5)], arrays=facts)
    submission.started({"slurm": ["7_0", "7_1"]})
    name = array_name(submission, 1)
    rows = [f"8_{index}|PENDING|{name}|Resources\n" for index in range(3)]
    mocked(monkeypatch, f"7_0|RUNNING|{array_name(submission, 0)}|None\n" + "".join(rows), "7_1|FAILED|1:0\n")
    assert counts(states_of(sweep)) == {"queued": 4, "lost": 1}
    queue = look(sweep)
    assert queue.jobs[1] == ["7_0", "7_1", "8_0", "8_1", "8_2"]
    assert queue.active() == ["7_0", "8_0", "8_1", "8_2"]
    assert queue.arrays == [SubmittedArray("7", 1), SubmittedArray("8", 1)]
    (submission.folder / "slurm").mkdir()
    assert adopt(sweep, submission, queue.jobs[1], SlurmOptions()) == 3
    assert submission.jobs["slurm"] == ["7_0", "7_1", "8_0", "8_1", "8_2"]
    assert (submission.folder / "slurm" / "8_2_submitted.pkl").is_file(), "else the job would wait for it in vain"


def test_jobs_of_other_sweeps_are_not_ours(store, monkeypatch):
    sweep, submission = swept(store, [spec()])
    mocked(monkeypatch, "9|PENDING|another-sweep.0123abcd.0|Resources\n")
    assert look(sweep).active() == []
    assert counts(states_of(sweep)) == {"planned": 1}
    mocked(monkeypatch, f"9|PENDING|{array_name(submission, 0)}|Resources\n")
    assert look(sweep).active() == ["9"]
    assert counts(states_of(sweep)) == {"queued": 1}
