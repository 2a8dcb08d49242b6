"""Engines of other libraries: what each must keep to where it is installed, and what is said where it is not."""

import sys

import pytest
import torch

from harness.errors import IncompatibleError
from harness.method import registry
from harness.method.stack import check
from harness.quant.network import inventory
from harness.run.prepare import prepare
from harness.run.run_trial import run_trial
from harness.trial.spec import TrialSpec
from tests.baselines.applying import apply

BITS = {"brevitas": "w4a8", "nncf": "w8a8", "torchao": "w4a32"}
ENGINES = sorted(name for name, info in registry.available().items() if info.extra)


@pytest.fixture(params=ENGINES)
def engine(request):
    pytest.importorskip(request.param)
    return request.param


def test_engines_are_those_with_bits_here():
    assert sorted(BITS) == ENGINES


def test_the_evaluator_sees_their_network(engine, model, calibration, context):
    images = calibration.images
    before = model.full_precision(images)
    made = apply(model, calibration, context, engine, bits=BITS[engine])
    assert made.notes["library"].startswith(engine)
    quantized = model(images)
    assert torch.equal(model.full_precision(images), before), "full-precision weights stay untouched"
    assert not torch.equal(quantized, before)
    assert (quantized - before).square().sum() < 0.1 * before.square().sum()
    with pytest.raises(ValueError, match="as a whole only"):
        model.run(images, 1)
    model.clear()
    assert torch.equal(model(images), before)


def test_same_images_give_the_same_logits(engine, model, calibration, context):
    results = []
    for _ in range(2):
        model.clear()
        apply(model, calibration, context, engine, bits=BITS[engine])
        results.append(model(calibration.images))
    assert torch.equal(*results)


def test_32_bits_are_the_identity(engine, model, calibration, context):
    apply(model, calibration, context, engine, bits="w32a32")
    assert model.external is None
    assert torch.equal(model(calibration.images), model.full_precision(calibration.images))


def test_coverage_size_and_grid(engine, model, calibration, context):
    apply(model, calibration, context, engine, bits=BITS[engine])
    rows = {row["tensors"]: row for row in inventory.coverage(model)}
    width = int(BITS[engine][1])
    assert rows["attention weights"]["bits"] == [width]
    assert rows["attention weights"]["quantized"] == rows["attention weights"]["total"] == 12
    assert rows["weights"]["quantized"] == rows["weights"]["total"] - (engine == "torchao"), "torchao leaves convolutions"
    assert ("operands from layer_norm" in rows) == (engine != "torchao")
    full = inventory.full_precision_bytes(model)
    assert full * width / 32 < inventory.size_bytes(model) < full * (width + 3) / 32
    assert inventory.bit_operations(model) < 0.5 * inventory.full_precision_bit_operations(model)
    assert inventory.off_grid_sites(model) == []


def test_every_quantizer_of_nncf_is_at_one_of_our_sites(model, calibration, context):
    pytest.importorskip("nncf")
    made = apply(model, calibration, context, "nncf", bits="w8a8")
    assert made.notes["quantizers_at_no_known_site"] == []
    assert made.notes["quantizers"] == 26 + 38, "weights; operands of 26 layers and both sides of six score products"


def test_gptq_of_brevitas_is_closer_than_rounding_to_nearest(model, calibration, context):
    pytest.importorskip("brevitas")
    target = model.full_precision(calibration.images)
    errors = []
    for stack in ("brevitas(bias_correction=false)", "brevitas(gptq=false,bias_correction=false)"):
        model.clear()
        apply(model, calibration, context, stack, bits="w4a8")
        errors.append(float((model(calibration.images) - target).square().mean()))
    assert errors[0] < errors[1]


def test_a_trial_from_end_to_end(engine, store):
    spec = TrialSpec(engine, bits=BITS[engine], calib=8, eval_limit=50)
    record, _ = run_trial(spec, store)
    assert record["status"] == "done", record.get("error")
    assert record["metrics"]["agreement"] > 90
    assert record["on_grid"]
    again, cached = run_trial(spec, store)
    assert cached
    assert again == record


@pytest.mark.parametrize(
    ("name", "bits", "hint"),
    [("nncf", "w4a4", "--bits w8a8"), ("torchao", "w4a8", "--bits w4a32"), ("brevitas", "w8a8s4", "w8a8")],
)
def test_widths_that_a_library_cannot_do(name, bits, hint):
    pytest.importorskip(name)
    with pytest.raises(IncompatibleError, match=hint):
        prepare(TrialSpec(name, bits=bits))


def test_nothing_can_be_stacked_on_them(engine):
    with pytest.raises(Exception, match=f"which {engine} does not provide"):
        check(f"{engine}+omse")


@pytest.mark.parametrize("name", ENGINES)
def test_a_missing_library_is_named_with_its_extra(name, monkeypatch):
    """Also where it is installed: None in ``sys.modules`` makes the import fail."""
    for module in {name, *(loaded for loaded in sys.modules if loaded.startswith(f"{name}."))}:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"baselines.{name}", raising=False)
    with pytest.raises(IncompatibleError, match=rf"pip install 'ptq-harness\[{name}\]'"):
        registry.load(name)
    assert name in registry.available(), "it is listed all the same"
