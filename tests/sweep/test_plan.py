"""Plans: what is done, what fails, what is shared, what it costs."""

import json
from collections import Counter

import pytest

from harness.errors import UsageError
from harness.method import registry, settings
from harness.method import stack as stacks
from harness.run import prepare as prepare_module
from harness.run.prepare import prepare
from harness.store import store as store_module
from harness.store.placeholder_records import unrun
from harness.store.prefix_states import PrefixStates
from harness.sweep import plan as plans
from harness.sweep.estimate import Estimator
from harness.sweep.plan import make_plan
from harness.trial.spec import TrialSpec
from tests.store.test_store import record as synthetic

LADDER = ["fqvit", "fqvit+omse", "fqvit+omse+biascorr"]


def specs(**changes):
    return [TrialSpec(method, **changes) for method in LADDER]


def stored(spec, status="done", seconds=2.0, **changes):
    """A synthetic record of a real trial."""
    prepared = prepare(spec)
    names = [step.info.name for step in prepared.stack.steps]
    stages = [{"name": name, "seconds": seconds, "peak_memory_bytes": 10**9} for name in (*names, "evaluate")]
    base = {"spec": json.loads(json.dumps(prepared.identity)), "model": prepared.model.name, "stages": stages}
    return synthetic(prepared.id, status, **{**base, "calib": spec.calib, "environment": {"device": "cpu"}, **changes})


def test_states_of_trials(store):
    store.save(stored(specs()[0]))
    store.save(stored(specs()[1], "failed"))
    store.save(stored(specs()[2], "failed", error={"kind": "incompatible", "message": "no such operation"}))
    plan = make_plan([*specs(), TrialSpec("fqvit", data="/nowhere"), TrialSpec("minmax")], store)
    assert [cell.state for cell in plan.cells] == ["done", "failed", "incompatible", "incompatible", "to run"]
    assert plan.reasons("failed") == {"oom: no memory": 1}
    assert any("/nowhere" in reason for reason in plan.reasons("incompatible"))
    again = make_plan(specs(), store, retry=["oom"])
    assert [cell.state for cell in again.cells] == ["done", "to run", "incompatible"]
    assert [cell.state for cell in make_plan(specs(), store, retry=["all"]).cells] == ["done", "to run", "to run"]


def test_a_trial_that_is_given_twice_is_one(store):
    assert len(make_plan([TrialSpec("fqvit"), TrialSpec("fqvit(ptf=true)"), TrialSpec("fqvit", batch=7)], store).cells) == 1


def test_shared_and_stored_steps_are_counted(store):
    assert _steps(make_plan(specs(), store)) == (6, 0, 3)
    assert _steps(make_plan(specs(), store, share=False)) == (6, 0, 0)
    prefix = prepare(specs()[1]).prefixes[1]
    folder = PrefixStates(store).folder(prefix)
    folder.mkdir(parents=True)
    (folder / "prefix.safetensors").touch()
    assert _steps(make_plan(specs(), store)) == (6, 4, 0)


def _steps(plan):
    return plan.steps, plan.steps_stored, plan.steps_shared


def test_estimates_count_shared_steps_once(store):
    for spec in specs(calib=100):
        store.save(stored(spec))
    plan = make_plan(specs(calib=200, seed=5), store)
    assert plan.unknown == 0
    assert plan.hours * 3600 == pytest.approx(3 * 4.0 + 3 * 2.0), "three steps on twice the images, three evaluations"
    alone = make_plan(specs(calib=200, seed=5), store, share=False)
    assert alone.hours * 3600 == pytest.approx(6 * 4.0 + 3 * 2.0)
    assert make_plan([TrialSpec("minmax")], store).unknown == 1
    assert make_plan(specs(seed=5), store, gpu=True).unknown == 3, "times on a CPU say nothing of a GPU"


def test_memory_is_remembered_by_network():
    estimator = Estimator([stored(specs()[0])])
    assert estimator.memory(stored(specs()[0])["model"]) == 10**9
    assert estimator.memory("another") is None


def test_mistakes_that_concern_the_whole_sweep_end_it(store):
    with pytest.raises(UsageError, match="bits"):
        make_plan([TrialSpec("fqvit", bits="w99")], store)


def test_the_network_is_loaded_once(store, opened_afresh, monkeypatch):
    loads, load = [], prepare_module.load_model
    monkeypatch.setattr(prepare_module, "load_model", lambda *given: loads.append(given) or load(*given))
    make_plan([TrialSpec("fqvit", seed=seed) for seed in range(5)], store)
    assert len(loads) == 1


def test_skipped_records_are_records(store):
    cell = make_plan([TrialSpec("fqvit", data="/nowhere"), TrialSpec("fqvit")], store).cells[0]
    assert cell.state == plans.INCOMPATIBLE
    store.save(unrun(cell.spec, cell.id, "skipped", cell.kind, cell.reason, {}))
    assert store.get(cell.id)["error"]["kind"] == "data"


def test_work_per_trial_does_not_depend_on_the_number_of_trials(store, monkeypatch):
    """What is equal between trials is worked out once: stacks, settings, the network's preprocessing."""
    calls = Counter()

    def counted(module, name):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, **more: calls.update([name]) or real(*given, **more))

    for module, name in ((registry, "load"), (settings, "build"), (prepare_module, "of_model"), (stacks, "check")):
        counted(module, name)
    few = make_plan([TrialSpec("fqvit+omse", bits=bits) for bits in ("w8a8", "w4a8")], store)
    once = dict(calls)
    calls.clear()
    many = make_plan(
        [TrialSpec("fqvit+omse", bits=bits, seed=seed) for bits in ("w8a8", "w4a8") for seed in range(20)], store
    )
    assert dict(calls) == once
    assert {cell.id for cell in few.cells} < {cell.id for cell in many.cells}
    assert [cell.id for cell in many.cells[:2]] == [prepare(cell.spec).id for cell in many.cells[:2]]


def test_records_are_read_once(store, monkeypatch):
    for spec in specs():
        store.save(stored(spec))
    read = []
    real = store_module.read_record
    monkeypatch.setattr(store_module, "read_record", lambda path: read.append(path) or real(path))
    plan = make_plan(specs(), store)
    assert plan.count("done") == 3
    assert len(read) == 3


def test_what_cannot_be_loaded_is_tried_once(store, tmp_path, monkeypatch):
    tried = []
    real = prepare_module.load_model
    monkeypatch.setattr(prepare_module, "load_model", lambda *given: tried.append(given) or real(*given))
    weights = tmp_path / "none.safetensors"
    plan = make_plan([TrialSpec("fqvit", weights=weights, seed=seed) for seed in range(5)], store)
    assert plan.count("incompatible") == 5
    assert len(tried) == 1
    assert len({cell.reason for cell in plan.cells}) == 1
