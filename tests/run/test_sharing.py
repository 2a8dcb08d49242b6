"""Shared work and interrupted searches: the same bytes as without, and costs that add up."""

import json

import numpy as np
import pytest

from harness.machine.progress import Progress
from harness.method.checkpoint import Checkpoint
from harness.run.prepare import prepare
from harness.run.run_trial import run_trial as run_cold
from harness.run.session import Session
from harness.store.artifacts import Artifact
from harness.store.prefix_states import PrefixStates, prefix_ids
from harness.store.store import Store
from harness.trial.spec import TrialSpec
from tests.lanes import nightly

SEARCH = "evolq(passes=2,cycles=1)"
LADDER = ["fqvit", "fqvit+omse", "fqvit+omse+biascorr", f"fqvit+omse+biascorr+{SEARCH}"]


KEPT = Session()


def fresh() -> Session:
    """Loading and capturing the network once is enough; everything else starts anew."""
    session = Session()
    session.opened._kinds.update(
        {kind: KEPT.opened._kinds[kind] for kind in ("source", "model", "capture") if kind in KEPT.opened._kinds}
    )
    return session


def run_trial(spec, store, progress=None, session=None, **how):
    session = session or fresh()
    result = run_cold(spec, store, progress, session=session, **how)
    KEPT.opened._kinds.update(session.opened._kinds)
    return result


def spec(method, **changes):
    return TrialSpec(method, **{"bits": "w4a8", "calib": 16, "eval_limit": 200, "device": "cpu", **changes})


def results(store, record):
    """Everything a trial produced, except times."""
    folder = store.folder(record["id"])
    metrics, files = record["metrics"], ("quantizers.safetensors", "correct.npy")
    return record["id"], metrics, [(folder / name).read_bytes() for name in files]


def test_a_ladder_with_shared_prefixes_gives_the_same_bytes(tmp_path):
    alone, together = Store(tmp_path / "alone"), Store(tmp_path / "together")
    session = Session()
    for method in LADDER:
        one, _ = run_trial(spec(method), alone, share=False)
        other, _ = run_trial(spec(method), together, session=session)
        assert results(alone, one) == results(together, other)
        names = [stage["name"] for stage in one["stages"]]
        assert [stage["name"] for stage in other["stages"]] == names, "the record tells of every step"
    reused = [stage["name"] for stage in other["stages"] if "reused" in stage["notes"]]
    assert reused == ["load calibration images", "fqvit", "omse", "biascorr"]
    for stage, before in zip(other["stages"], one["stages"], strict=True):
        assert stage["image_forwards"] == pytest.approx(before["image_forwards"], abs=0.1), "original cost stays"
        assert stage["shared_seconds"] <= stage["seconds"] + 1e-4
    assert not (alone.root / "states").exists()
    assert not (alone.root / "logits").exists()


def test_the_evaluation_of_full_precision_is_shared(store):
    first, _ = run_trial(spec("fqvit"), store)
    second, _ = run_trial(spec("minmax"), store)
    stages = [record["stages"][-1] for record in (first, second)]
    assert [stage["shared_image_forwards"] for stage in stages] == [0, 200]
    assert stages[1]["forward_passes"] == 2
    assert first["metrics"]["n_correct_fp32"] == second["metrics"]["n_correct_fp32"]
    exact, _ = run_trial(spec("fp32"), store)
    assert exact["metrics"]["logit_sqnr_db"] is None, "shared logits are those of the same batch: no difference at all"


def test_another_batch_does_not_take_the_logits(store):
    run_trial(spec("fqvit"), store)
    run_trial(spec("minmax", batch=50), store)
    assert len(list((store.root / "logits").rglob("*.safetensors"))) == 2


def test_segment_inputs_and_targets_are_shared_between_searches_of_one_prefix(tmp_path):
    session, store = Session(), Store(tmp_path / "a")
    run_trial(spec("fqvit+evolq(passes=1,cycles=1,order=reverse)"), store, session=session)
    record, _ = run_trial(spec("fqvit+evolq(passes=1,cycles=1,order=reverse,loss=mse)"), store, session=session)
    stage = record["stages"][3]
    assert stage["name"] == "evolq"
    assert stage["shared_image_forwards"] > 16, "full-precision logits and the inputs of later segments"
    alone, _ = run_trial(spec("fqvit+evolq(passes=1,cycles=1,order=reverse,loss=mse)"), Store(tmp_path / "b"), share=False)
    assert alone["stages"][3]["image_forwards"] == pytest.approx(stage["image_forwards"], abs=0.1)
    assert alone["metrics"] == record["metrics"]


@pytest.mark.parametrize("damage", ["truncate", "foreign", "no stages"])
def test_a_broken_state_is_not_used_and_said(store, damage, capsys):
    run_trial(spec("fqvit"), store)
    prefix = prepare(spec("fqvit")).prefixes[0]
    folder = PrefixStates(store).folder(prefix)
    state = Artifact(folder / "prefix.safetensors")
    if damage == "truncate":
        state.path.write_bytes(state.path.read_bytes()[:100])
    elif damage == "foreign":
        state.path.write_text("hello")
    else:
        state.save(*state.load(lambda tensors, about: (tensors, {"facts": about["facts"]})))
    record, _ = run_trial(spec("fqvit+omse"), store)
    assert record["status"] == "done"
    heard = capsys.readouterr().err
    assert str(state.path) in heard
    assert "is not used" in heard
    assert "reused" not in record["stages"][2]["notes"]


def test_prefix_ids_depend_on_what_the_prefix_depends_on():
    base = prepare(spec(LADDER[-1]))
    other = prepare(spec(f"{LADDER[2]}+evolq(passes=3)", eval_limit=100))
    assert base.prefixes[:3] == other.prefixes[:3], "neither later steps nor the evaluation matter"
    assert base.prefixes[3] != other.prefixes[3]
    for change in ({"seed": 1}, {"bits": "w8a8"}, {"calib": 17}, {"preprocess": {"mean": "0.3"}}):
        assert not set(base.prefixes) & set(prepare(spec(LADDER[-1], **change)).prefixes), change
    leak = [prefix_ids({**base.identity, "eval_limit": n}, ["strict", "strict", "paper", "strict"]) for n in (100, 200)]
    assert leak[0][:2] == leak[1][:2]
    assert not set(leak[0][2:]) & set(leak[1][2:]), "a step that sees evaluation images depends on them"


class Stop(KeyboardInterrupt):
    """What the end of a process looks like inside."""


class StopsAt(Progress):
    """Ends the process after so many blocks."""

    def __init__(self, blocks, save=True):
        self.blocks, self.save = blocks, save
        self.flush = lambda: None

    def interruptible(self, save):
        self.flush = save

    def check(self):
        self.blocks -= 1
        if not self.blocks:
            if self.save:
                self.flush()
            raise Stop


@pytest.mark.parametrize(
    ("step", "blocks"),
    [
        pytest.param(SEARCH, 1, marks=nightly),
        (SEARCH, 8),
        ("gradopt(passes=2,steps=1)", 1),
        pytest.param("gradopt(passes=2,steps=1)", 8, marks=nightly),
        ("evolq(passes=2,cycles=1,selection=evaluation)", 8),
        pytest.param("evolq(passes=2,cycles=1,selection=evaluation)", 1, marks=nightly),
    ],
)
def test_an_interrupted_search_goes_on_with_the_same_bytes(step, blocks, tmp_path, monkeypatch):
    method = f"fqvit+{step}"
    alone, resumed = Store(tmp_path / "alone"), Store(tmp_path / "resumed")
    expected, _ = run_trial(spec(method), alone)
    progress = StopsAt(blocks)
    done = Checkpoint.block_done

    def counted(self, *arguments):
        done(self, *arguments)
        progress.check()

    monkeypatch.setattr(Checkpoint, "block_done", counted)
    with pytest.raises(Stop):
        run_trial(spec(method), resumed, progress)
    monkeypatch.setattr(Checkpoint, "block_done", done)
    (partial,) = resumed.root.rglob("partial.safetensors")
    record, _ = run_trial(spec(method), resumed)
    assert results(alone, expected) == results(resumed, record)
    before, after = (one["stages"][3] for one in (expected, record))
    for stage in (before, after):
        stage["notes"].pop("kept_bytes")  # the most at once in one process: gradopt chooses its rate in the first only
    seconds = after["notes"].pop("seconds_before_interruption")
    assert 0 < seconds < after["seconds"]
    assert after["notes"] == before["notes"], "losses and counts are those of the whole search"
    again = after["image_forwards"] - before["image_forwards"]
    assert 0 <= again <= 2.5 * expected["calib"], "targets and segment inputs are computed once more, nothing else"
    assert not partial.exists(), "a finished search leaves no partial state"


def test_a_foreign_partial_state_is_not_used(tmp_path, model, capsys):
    path = tmp_path / "partial.safetensors"
    path.write_text("not a tensor file")
    assert Checkpoint(path).resume(model) is None
    assert str(path) in capsys.readouterr().err


def test_a_state_that_breaks_half_way_leaves_the_model_as_it_was(tmp_path, model, calibration, context):
    from harness.method.stack import check
    from harness.quant.network.state import state_of

    check("fqvit").steps[0].method.apply(model, calibration, context())
    path = tmp_path / "partial.safetensors"
    kept = Checkpoint(path)
    kept.block_done(model, {}, {})
    tensors, about = kept._pending
    last = list(about["model"]["quantizers"])[-1]
    kept._pending = {name: one for name, one in tensors.items() if f"/{last}/scale" not in name}, about
    kept.flush()
    before, _ = state_of(model)
    assert Checkpoint(path).resume(model) is None
    after, _ = state_of(model)
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)


@pytest.mark.parametrize(("error", "kept"), [(RuntimeError("a bug"), False), (MemoryError("full"), True)])
def test_a_search_that_failed_by_mistake_starts_anew(error, kept, store, monkeypatch):
    done = Checkpoint.block_done

    def fail(self, *arguments):
        done(self, *arguments)
        self.flush()
        raise error

    monkeypatch.setattr(Checkpoint, "block_done", fail)
    record, _ = run_trial(spec(f"fqvit+{SEARCH}"), store)
    assert record["status"] == "failed"
    assert bool(list(store.root.rglob("partial.safetensors"))) is kept


def test_a_state_of_other_code_is_not_used(store, monkeypatch, capsys):
    monkeypatch.setattr("harness.machine.measure.COMMIT", "one")
    progress = StopsAt(3)
    done = Checkpoint.block_done
    monkeypatch.setattr(Checkpoint, "block_done", lambda self, *given: (done(self, *given), progress.check()))
    with pytest.raises(Stop):
        run_trial(spec(f"fqvit+{SEARCH}"), store, progress)
    monkeypatch.setattr(Checkpoint, "block_done", done)
    monkeypatch.setattr("harness.machine.measure.COMMIT", "other")
    record, _ = run_trial(spec(f"fqvit+{SEARCH}"), store)
    assert "written by commit one, this is other" in capsys.readouterr().err
    assert "seconds_before_interruption" not in record["stages"][3]["notes"]


def test_force_uses_nothing_that_is_stored(store):
    run_trial(spec(f"fqvit+{SEARCH}"), store)
    record, _ = run_trial(spec(f"fqvit+{SEARCH}"), store, force=True)
    assert all(stage["shared_seconds"] == 0 for stage in record["stages"][1:])
    assert "reused" not in json.dumps(record["stages"])


def test_correctness_is_that_of_the_images(store):
    record, _ = run_trial(spec("fqvit"), store)
    run_trial(spec("fqvit+omse"), store)
    shared = store.correct(record["id"])
    again, _ = run_trial(spec("fqvit"), store, force=True)
    assert np.array_equal(shared, store.correct(again["id"]))
