"""The arithmetic of a trial: its id, its record, its prefixes, its network from Python, and the noise floor."""

import pytest
import torch

from harness.cli.actions.extra_lines import arithmetic_line
from harness.cli.actions.summary import print_summary
from harness.run.prepare import prepare
from harness.run.reload import load_quantized
from harness.run.run_trial import Session, run_trial
from harness.store.store import Store
from harness.store.table import row
from harness.trial.record_check import problems_of
from harness.trial.spec import TrialSpec


def spec(arithmetic, method="minmax", **changes):
    return TrialSpec(method, calib=16, eval_limit=60, device="cpu", arithmetic=arithmetic, **changes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A store with the same trial in both arithmetics, the second with its noise floor."""
    store, session = Store(tmp_path_factory.mktemp("arithmetic")), Session()
    plain, _ = run_trial(spec("float"), store, session=session)
    exact, _ = run_trial(spec("integer", noise_floor=True), store, session=session)
    return store, session, plain, exact


def test_the_record_says_which_products_ran_on_integers(runs):
    _, _, plain, exact = runs
    assert problems_of(plain) == problems_of(exact) == []
    assert plain["id"] != exact["id"]
    assert "arithmetic" not in plain["spec"]
    assert exact["spec"]["arithmetic"] == exact["asked"]["arithmetic"] == "integer"
    assert "--arithmetic integer" in exact["command"]
    assert "--arithmetic float" in plain["command"]
    assert {(one["products"], one["arithmetic"], one["reason"], one["count"]) for one in exact["arithmetic"]} == {
        ("conv", "integer", "", 1),
        ("linear", "integer", "", 25),
        ("matmul", "integer", "", 12),
    }
    assert exact["integer_share"] == 100
    assert plain["integer_share"] == 0
    assert {one["reason"] for one in plain["arithmetic"]} == {"float arithmetic was asked for"}
    assert sum(one["macs"] for one in plain["arithmetic"]) == sum(one["macs"] for one in exact["arithmetic"])


def test_the_noise_floor_is_how_far_both_are_apart(runs):
    store, _, plain, exact = runs
    floor = exact["noise_floor"]
    assert "noise_floor" not in plain
    assert floor["against"] == "float"
    assert 80 <= floor["agreement"] <= 100
    network = load_quantized(store, exact["id"])
    assert network.model.arithmetic == "integer"
    assert load_quantized(store, plain["id"]).model.arithmetic == "float"
    assert (row(exact)["noise_agreement"], row(exact)["integer_share"]) == (floor["agreement"], 100)
    assert row(plain)["noise_agreement"] is None
    assert (row(exact)["arithmetic"], row(plain)["arithmetic"]) == ("integer", "float")
    del plain["asked"]["arithmetic"]  # as records of earlier versions
    assert row(plain)["arithmetic"] == "float"


def test_a_finished_trial_is_evaluated_again_for_its_noise_floor_only(runs):
    store, session, _, _ = runs
    before, _ = run_trial(spec("integer", method="fqvit"), store, session=session)
    record, cached = run_trial(spec("integer", method="fqvit", noise_floor=True), store, session=session)
    assert not cached
    assert (record["id"], record["metrics"]) == (before["id"], before["metrics"])
    assert "reused" in record["stages"][1]["notes"]
    assert run_trial(spec("integer", method="fqvit", noise_floor=True), store, session=session).cached
    assert run_trial(spec("integer", method="fqvit"), store, session=session).cached


def test_states_of_prefixes_are_shared_within_one_arithmetic(runs):
    plain, exact = (prepare(spec(one, "fqvit+omse")) for one in ("float", "integer"))
    assert not set(plain.prefixes) & set(exact.prefixes)
    assert plain.origin == exact.origin


def test_a_restored_network_gives_the_bytes_of_the_trial(runs):
    """Quantized logits of the record's network: the same from its file, at another batch."""
    store, session, _, exact = runs
    images = prepare(spec("integer"), session.opened)
    data = images.source.evaluation(60, images.preprocessing)
    found = [load_quantized(store, exact["id"])(batch) for batch, _ in data.batches(60)]
    again = [load_quantized(store, exact["id"])(batch) for batch, _ in data.batches(7)]
    assert torch.equal(torch.cat(found), torch.cat(again))
    labels = torch.cat([labels for _, labels in data.batches(60)])
    assert int((torch.cat(found).argmax(1) == labels).sum()) == exact["metrics"]["n_correct"]


def test_the_summary_has_a_line_and_the_floor_beside_agreement(runs, capsys, tmp_path):
    _, _, plain, exact = runs
    print_summary(exact, tmp_path / "record.json", cached=False)
    out = capsys.readouterr().out
    assert "products integers: 1 conv, 25 linear, 12 matmul; 100.0 % of multiply-accumulates on integers" in out
    assert "to itself, float arithmetic" in out
    (line,) = arithmetic_line(plain)
    assert line == (
        "products floating point: all products (float arithmetic was asked for); 0.0 % of multiply-accumulates on integers"
    )
    assert arithmetic_line({}) == []


def test_nothing_quantized_is_full_precision_to_the_byte(runs):
    store, session, _, _ = runs
    record, _ = run_trial(spec("integer", method="fp32"), store, session=session)
    assert record["metrics"]["logit_sqnr_db"] is None
    assert record["integer_share"] == 0
