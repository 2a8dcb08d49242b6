"""``harness resume`` plans what its records do not settle, and nothing else."""

import pytest

from harness.cli.actions.resume import plan_of_rest
from harness.cli.main import main
from harness.errors import UsageError
from harness.machine.progress import Progress
from harness.run import prepare as prepare_module
from harness.sweep import plan as plans
from harness.sweep.launch.options import LocalOptions
from harness.sweep.manifest import create
from harness.sweep.plan import make_plan
from harness.trial.spec import TrialSpec
from tests.sweep.test_plan import specs, stored


@pytest.fixture
def sweep(store):
    trials = [*specs(), TrialSpec("fqvit", data="/nowhere")]
    return create(store, "ladder", "", make_plan(trials, store), {"kind": "local"}, "harness sweep")


def rest(sweep, retry=()):
    return plan_of_rest(sweep, Progress(), LocalOptions(), share=True, retry=retry)


def test_only_what_no_record_settles_is_planned_again(store, sweep, monkeypatch):
    store.save(stored(specs()[0]))
    store.save(stored(specs()[1], "failed"))
    prepared, prepare = [], plans.prepare
    monkeypatch.setattr(plans, "prepare", lambda spec, *more: prepared.append(spec.method) or prepare(spec, *more))
    plan = rest(sweep)
    assert prepared == ["fqvit+omse+biascorr", "fqvit"], "what is missing, and what could not be loaded"
    assert sorted(cell.id for cell in plan.cells) == sorted(trial.id for trial in sweep.planned)
    assert {cell.state for cell in plan.cells} == {"done", "failed", "to run", "incompatible"}
    assert [cell.spec.method for cell in rest(sweep, ["oom"]).to_run] == ["fqvit+omse", "fqvit+omse+biascorr"]


def test_a_finished_sweep_is_not_planned_at_all(store, monkeypatch, capsys):
    sweep = create(store, "done", "", make_plan(specs(), store), {"kind": "local"}, "harness sweep")
    for spec in specs():
        store.save(stored(spec))
    monkeypatch.setattr(plans, "prepare", lambda *given: pytest.fail("planned again"))
    assert main(["resume", sweep.name, "--store", str(store.root)]) == 0
    assert "nothing to do: every trial has its record" in capsys.readouterr().out


def test_missing_trials_must_be_what_was_planned(store, sweep, monkeypatch):
    same = prepare_module._network_and_data
    monkeypatch.setattr(prepare_module, "_network_and_data", lambda *given: {**same(*given), "weights_sha256": "0" * 64})
    with pytest.raises(UsageError, match=r"3 of 3 trials of ladder-.* are not what was planned"):
        rest(sweep)
