"""A finished trial's network from Python: the same logits, and a clear word where there is none."""

import dataclasses

import pytest
import torch
from torch import nn

from harness.data.sources import open_source
from harness.errors import UsageError
from harness.method import registry
from harness.models.loading import load_model
from harness.run.reload import load_quantized
from harness.run.run_trial import run_trial
from harness.run.session import Session
from harness.store.exchange import merge
from harness.store.store import Store
from harness.trial.spec import TrialSpec
from tests.store.test_store import record

SPEC = TrialSpec("fqvit+omse+biascorr", bits="w4a8", calib=16, eval_limit=100, device="cpu")


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """A finished trial: its store, record, and the network it was measured on."""
    store, session = Store(tmp_path_factory.mktemp("reload") / "runs"), Session()
    done, _ = run_trial(SPEC, store, session=session)
    (kept,) = (part.value for _, parts in [session.opened._kinds["capture"]] for part in parts.values())
    return store, done, kept


def test_the_same_logits_and_counts(trial):
    store, done, measured = trial
    network = load_quantized(store, done["id"])
    data = open_source("embedded").evaluation(100, network.preprocessing)
    correct = 0
    for images, labels in data.batches(64):
        logits = network(images)
        assert torch.equal(logits, measured(images))
        assert not torch.equal(logits, network.model.full_precision(images))
        correct += int((logits.argmax(1) == labels).sum())
    assert correct == done["metrics"]["n_correct"]
    assert network.record == store.get(done["id"])


def test_it_is_a_module_like_any_other(trial):
    store, done, _ = trial
    network = load_quantized(store, done["id"][:8])
    assert isinstance(network, nn.Module)
    assert not network.training
    assert {id(weight.weight) for weight in network.model.weights.values()} <= {id(p) for p in tensors(network)}
    assert sum(p.numel() for p in tensors(network)) > 50_000
    assert network.to("cpu") is network
    assert network.eval() is network
    with pytest.raises(TypeError, match=r"float32, torch\.float16 is not possible"):
        network.half()
    moved = network.to("meta")
    assert {one.device.type for one in tensors(moved)} == {"meta"}
    assert {one.scale.device.type for one in moved.model.quantizers.values()} == {"meta"}, "quantizers move along"


def tensors(network):
    return [*network.parameters(), *network.buffers()]


def test_other_weights_are_refused_with_both_hashes(trial, tmp_path):
    from safetensors.torch import save_file

    store, done, _ = trial
    state = {name: tensor + 1e-3 for name, tensor in load_model("embedded").network.state_dict().items()}
    save_file(state, tmp_path / "other.safetensors")
    other = load_model("embedded", tmp_path / "other.safetensors").weights_sha256
    with pytest.raises(UsageError) as caught:
        load_quantized(store, done["id"], weights=tmp_path / "other.safetensors")
    assert done["weights"]["sha256"] in str(caught.value)
    assert other in str(caught.value)


def test_what_cannot_be_loaded_is_explained(trial, tmp_path):
    store, done, _ = trial
    with pytest.raises(UsageError, match="0 trials match 'ffffffff'"):
        load_quantized(store, "ffffffff")
    other = Store(tmp_path / "runs")
    other.save(record(status="failed"))
    with pytest.raises(UsageError, match=r"has no quantized network: it has failed \(oom: no memory\)"):
        load_quantized(other, "ab12")
    merge(other, store.root, "lab")
    with pytest.raises(UsageError, match="its record comes from lab"):
        load_quantized(other, done["id"])


def test_a_method_whose_package_is_missing_is_named(trial, monkeypatch):
    store, done, _ = trial
    known = {name: info for name, info in registry.available().items() if name != "omse"}
    monkeypatch.setattr("harness.method.registry.available", lambda: known)
    with pytest.raises(UsageError, match=rf"trial {done['id']} was quantized by 'omse', which is not here") as caught:
        load_quantized(store, done["id"])
    assert "install the package that brings 'omse'" in str(caught.value)


def test_a_trial_of_another_library_has_no_file(store):
    store.save(record(stack="torchao"))
    with pytest.raises(UsageError, match=r"another library quantized its network \(torchao\)"):
        load_quantized(store, "ab12")


def test_a_broken_file_is_named(trial, tmp_path, monkeypatch):
    store, done, _ = trial
    file = store.folder(done["id"]) / "quantizers.safetensors"
    content = file.read_bytes()
    try:
        file.write_bytes(content[:100])
        with pytest.raises(UsageError, match=r"quantizers\.safetensors is not the file that the trial wrote"):
            load_quantized(store, done["id"])
        monkeypatch.setattr("harness.run.reload.sha256_of", lambda path: done["files"][path.name])
        with pytest.raises(UsageError, match=r"quantizers\.safetensors cannot be read"):
            load_quantized(store, done["id"])
    finally:
        file.write_bytes(content)


def test_methods_of_the_stack_are_imported_first(trial, monkeypatch):
    """Plugins register their number formats when they are imported."""
    store, done, _ = trial
    asked = []
    monkeypatch.setattr("harness.method.registry.load", asked.append)
    load_quantized(store, done["id"])
    assert asked == [step["name"] for step in done["spec"]["stack"]]
    assert len(asked) == len(dataclasses.asdict(SPEC)["method"].split("+"))
