"""Trials whose sites differ in width: every scheme, records, tables, sizes, export, and the way back from a file."""

import pandas as pd
import pytest
import torch

from harness.data.sets import CalibrationSet
from harness.deploy.network import deployed
from harness.deploy.refusals import refusals
from harness.errors import IncompatibleError, SiteError
from harness.graph.operations import Kind
from harness.graph.sites import Place
from harness.method import registry
from harness.method.registration import Role
from harness.method.stack import check
from harness.quant.network import inventory
from harness.run.reload import load_quantized
from harness.run.run_trial import run_trial
from harness.store.exchange import export, merge
from harness.store.store import Store
from harness.sweep.compose import compose_sweep
from harness.sweep.grid import expand
from harness.testing.applying import apply, with_quick_settings
from harness.trial.bits import Bits
from harness.trial.spec import TrialSpec

MAP = "w4a8; blocks.[0-1].attn=w8a6; head=w8; blocks.2=32; blocks.3.*:softmax=5"
EXTERNAL = ("nncf", "brevitas", "torchao")
SCHEMES = [
    name for name, info in registry.available().items() if info.role is Role.SCHEME and name not in (*EXTERNAL, "fp32")
]
SMALL = {"calib": 8, "eval_limit": 40, "device": "cpu"}


def widths(model, bits):
    """What each installed quantizer should have."""
    for name in model.quantizers:
        site = model.sites[name]
        own = bits.at(site)
        yield (
            name,
            own.weight if site.place is Place.PARAMETER else own.softmax if site.kind is Kind.SOFTMAX else own.activation,
        )


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_follows_the_map(model, calibration, scheme):
    bits = Bits.parse(MAP)
    apply(check(with_quick_settings(scheme)).steps, model, CalibrationSet(calibration.images[:4]), MAP)
    assert {name: model.quantizers[name].bits for name, _ in widths(model, bits)} == dict(widths(model, bits))
    assert not [name for name in model.quantizers if model.segment_of(name) == model.segment_of("blocks.2:add")]
    assert set(model.weights) - set(model.quantizers) == {name for name in model.weights if name.startswith("blocks.2.")}
    assert len({model.quantizers[name].bits for name in model.quantizers}) >= 4
    assert model(calibration.images[:4]).isfinite().all()


@pytest.mark.slow
def test_sizes_and_work_follow_the_map(model, calibration):
    def described(bits):
        model.clear()
        apply(check("minmax(sites=operands)").steps, model, calibration, bits)
        return inventory.size_bytes(model), inventory.bit_operations(model)

    narrow, wide = described("w4a8"), described("w4a8;head=w8")
    assert wide[0] - narrow[0] == model.sites["head.weight"].elements / 2
    head = next(cost for segment in model.segments for cost in segment.costs if "head.weight" in cost.operands[1])
    assert wide[1] - narrow[1] == head.macs * 4 * 8
    full = described("w4a8;*=32")
    assert full == (inventory.full_precision_bytes(model), inventory.full_precision_bit_operations(model))


@pytest.mark.parametrize("name", EXTERNAL)
def test_other_libraries_refuse_what_they_cannot_do(name):
    if not registry.available()[name]:
        pytest.skip("not registered")
    try:
        (step,) = check(name).steps
    except IncompatibleError:
        pytest.skip(f"{name} is not installed")
    with pytest.raises(IncompatibleError, match="one width for all"):
        step.method.check_bits(Bits.parse("w8a8;head=w4"))


@pytest.mark.slow
def test_a_map_is_an_ordinary_trial(tmp_path):
    store = Store(tmp_path / "runs")
    spec = TrialSpec("minmax(sites=deploy)", bits=" w8a8 ; head = 32; blocks.0.*=w4 ", **SMALL)
    record = run_trial(spec, store).record
    assert record["status"] == "done", record.get("error")
    assert record["bits"] == record["spec"]["bits"] == "w8a8;head=32;blocks.0=w4"
    assert TrialSpec.from_command(record["command"]).bits == record["bits"]
    rows = {row["tensors"]: row for row in record["coverage"]}
    assert rows["weights"]["quantized"] < rows["weights"]["total"]
    assert (rows["attention weights"]["bits"], rows["weights"]["bits"]) == ([4, 8], [4, 8])
    assert run_trial(TrialSpec("minmax(sites=deploy)", bits="w8a8;head=32;blocks.0=w4", **SMALL), store).cached
    network = load_quantized(store, record["id"])
    assert "head.weight" not in network.model.quantizers
    path = tmp_path / "all.parquet"
    export(store, path, "parquet", full=True)
    assert pd.read_parquet(path)["bits"].tolist() == [record["bits"]]
    other = Store(tmp_path / "other")
    merge(other, path, "elsewhere")
    assert other.stored(record["id"])["bits"] == record["bits"]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["minmax(sites=deploy)", "minmax"])
def test_an_exported_network_has_the_map(model, calibration, scheme):
    apply(check(scheme).steps, model, calibration, "w8a8;blocks.0=w4;head=32;blocks.1.mlp=32")
    assert not refusals(model, [], float_layernorm=False)
    with torch.inference_mode():
        network = deployed(model)
        found, expected, full = (run(calibration.images) for run in (network, model, model.full_precision))
    assert (found - expected).square().sum() < 0.1 * (full - expected).square().sum()


@pytest.mark.slow
def test_an_unknown_site_leaves_no_record(tmp_path):
    store = Store(tmp_path / "runs")
    for bits, message in (("w8a8;hed=w4", "Did you mean head"), ("w8a8;blocks.0:mul=4", "Its sites there are blocks.0:add")):
        with pytest.raises(SiteError, match=message):
            run_trial(TrialSpec("minmax", bits=bits, **SMALL), store)
    assert not list(store.records())


def test_grids_take_maps_without_quoting():
    given = ["method=minmax", "bits=w4a8; blocks.[0-1].*:add=32; head=w8a8s4,w8a8"]
    assert [spec.bits for spec in compose_sweep(given).specs] == ["w4a8; blocks.[0-1].*:add=32; head=w8a8s4", "w8a8"]
    assert [spec.bits for spec in expand(compose_sweep(given).specs)] == ["w4a8;blocks.[0-1].*:add=32;head=w8a8s4", "w8a8"]
    assert len(expand(compose_sweep(["method=minmax", "bits=['w4a8;head=w4','w4a8']"]).specs)) == 1
    assert [spec.bits for spec in compose_sweep(["method=minmax", "bits=choice(w4a8,w8a8)"]).specs] == ["w4a8", "w8a8"]


def test_an_experiment_file_takes_maps(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nmethod: minmax\nbits: ['w4a8; blocks.*.attn=w8a8', w8a8]\n"
    (tmp_path / "experiment" / "mixed.yaml").write_text(text)
    found = [spec.bits for spec in compose_sweep(["experiment=mixed"], tmp_path).specs]
    assert found == ["w4a8; blocks.*.attn=w8a8", "w8a8"]
