"""Generated command lines over every verb."""

import itertools

import pytest
from hypothesis import given

from harness.method.memo import Memo
from harness.run.prepare import prepare
from harness.run.run_trial import TrialResult
from tests.hostile.command_lines import lines, verbs
from tests.hostile.generated import generated
from tests.hostile.known import param
from tests.hostile.world import Case, settle
from tests.store.test_store import record

FAST, NIGHTLY = 5, 60


@pytest.fixture
def nothing_runs(monkeypatch):
    """``run`` checks everything there is to check, and ends where the work would begin."""
    opened = Memo()

    def checked(spec, store, progress, **how):
        prepared = prepare(spec, opened)
        store.check_writable()
        return TrialResult(record(prepared.id, "failed", error={"kind": "oom", "message": "not run here"}), False)

    monkeypatch.setattr("harness.run.run_trial.run_trial", checked)


def case(words):
    """What such a line may write: where it says."""
    outputs = [value for word, value in itertools.pairwise(words) if word == "--out"]
    outputs += [word.partition("=")[2] for word in words if word.startswith("--out=")]
    named = [
        part for word in words for part in (word, *word.split("=", 1), word.partition("(")[0], word.lstrip("-")) if part
    ]
    missing = ["required", "no method given", "no SLURM found"]
    blank = not all(word.strip() for word in words)  # an empty word cannot be named
    given = () if blank else (*named, *missing)
    return Case("line", words, given, outputs=tuple(one for one in outputs if "\x00" not in one))


@pytest.mark.parametrize("verb", [param("verb", " ".join(verb)) for verb in verbs()])
def test_generated_lines(world, nightly, nothing_runs, verb):
    failures = []
    verb, _, action = verb.partition(" ")

    @generated(NIGHTLY if nightly else FAST)
    @given(lines(verb, action))
    def each(words):
        failures.extend(world.attempt("verbs", case(words)))

    each()
    settle(failures)
