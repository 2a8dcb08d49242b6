"""A small finished trial with a search, and what an analysis makes of it."""

from typing import NamedTuple

import pytest

from harness.analysis.subject import open_subject
from harness.run.run_trial import run_trial
from harness.store.store import Store
from harness.trial.spec import TrialSpec


class Trial(NamedTuple):
    """A finished trial."""

    store: Store
    spec: TrialSpec
    record: dict


@pytest.fixture(scope="module")
def trial_of(tmp_path_factory):
    """A trial that ends with a search."""
    store = Store(tmp_path_factory.mktemp("analysis"))
    method = "fqvit+evolq(passes=1,cycles=1,held_out=0,selection=fitness,relative=true)"
    spec = TrialSpec(method, bits="w4a8", calib=8, eval_limit=20, device="cpu")
    return Trial(store, spec, run_trial(spec, store).record)


def subject_of(trial, images=6):
    """Its network and images."""
    return open_subject(trial.store, trial.record, trial.spec, images)
