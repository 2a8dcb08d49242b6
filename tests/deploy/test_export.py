"""From a trial to a folder that a runtime opens: what is in it, what the gate lets through, what the examples make of it."""

import ast
import json
import runpy
import sys
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from harness.cli.main import main
from harness.data.sources import open_source
from harness.deploy import altered as altering
from harness.deploy import network as networks
from harness.deploy import onnx_runtime
from harness.deploy.gate import BOUNDS, Interval, Judged, NotExported, Simulation, passed
from harness.deploy.runtime import RUNTIMES, needing, open_session
from harness.errors import UsageError
from harness.machine.progress import Progress
from harness.run.reload import load_quantized
from harness.run.run_trial import run_trial
from harness.store.store import Store
from harness.trial.spec import TrialSpec
from tests.lanes import nightly
from tests.run.folder_trials import image_folder
from tests.run.folder_trials import spec as folder_spec
from tests.shared import DEIT, IMAGES, requires_images

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
IMAGES_OF_EMBEDDED = 300
EVERY_VALUE = TrialSpec("minmax", bits="w8a8", calib=16, eval_limit=IMAGES_OF_EMBEDDED, device="cpu")
CORRECTED = replace(EVERY_VALUE, method="fqvit+omse+biascorr", bits="w4a8")  # PTF, integer LayerNorm, Banner's offset


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store with one trial of each, and what was exported of them."""
    store = Store(tmp_path_factory.mktemp("deploy") / "runs")
    return store, {name: run_trial(one, store).record["id"] for name, one in TRIALS.items()}


DEPLOYED = replace(EVERY_VALUE, method="minmax(sites=deploy)")
TRIALS = {
    "minmax": EVERY_VALUE,
    "corrected": CORRECTED,
    "lis": replace(EVERY_VALUE, method="fqvit(lis=true)"),
    "deploy": DEPLOYED,
    "weights": replace(DEPLOYED, bits="w8a32"),
}


@pytest.fixture(scope="module")
def folder(kept, tmp_path_factory):
    """``minmax`` in ONNX."""
    store, trials = kept
    out = tmp_path_factory.mktemp("exported") / "minmax"
    assert exported(store, trials["minmax"][:8], out) == 0
    return out


def exported(store, trial, out, *more):
    return main(["export", trial, "--store", str(store.root), "--out", str(out), "--quiet", *more])


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_the_manifest_says_what_it_is(kept, folder):
    store, trials = kept
    record, manifest = store.get(trials["minmax"]), manifest_of(folder)
    assert manifest["record"] == record["id"]
    assert (manifest["stack"], manifest["bits"]) == (record["stack"], record["bits"])
    assert (manifest["altered"], manifest["altered_from"]) == ([], None)
    assert manifest["preprocessing"] == record["spec"]["preprocessing"]
    assert manifest["classes"][0]["name"].lower().startswith("t-shirt")
    assert {row["arithmetic"] for row in manifest["products"]} == {"integer"}
    assert sum(row["macs"] for row in manifest["products"]) > 1e6
    quantizers = load_quantized(store, record["id"]).model.quantizers
    assert {row["site"] for row in manifest["sites"]} == set(quantizers)
    arithmetic = {row["site"]: (row["arithmetic"], row["why"]) for row in manifest["sites"]}
    assert arithmetic["blocks.0.attn.qkv.weight"] == ("integer", "")
    assert arithmetic["blocks.0:add"] == ("float", "no product reads it: add, layer_norm")
    gate = manifest["gate"]
    assert gate["images"] == IMAGES_OF_EMBEDDED
    assert gate["top1_simulated"] == pytest.approx(record["metrics"]["top1"])
    assert gate["parity"]["products"] == len(manifest["products"])
    assert gate["parity"]["worst"]["farthest"] <= BOUNDS.farthest
    assert gate["integer_macs"] == 1.0
    assert gate["bytes"] == (folder / "model.onnx").stat().st_size
    assert sum(gate["kernels"][one] for one in ("MatMulIntegerToFloat", "QLinearMatMul")) == len(manifest["products"])


def test_the_file_is_small_has_real_codes_and_no_trace_of_this_machine(kept, folder):
    graph = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(graph)
    types = Counter(tensor.data_type for tensor in graph.graph.initializer)
    assert types[onnx.TensorProto.INT8] > 26
    assert (folder / "model.onnx").stat().st_size < 0.4 * kept[0].get(kept[1]["minmax"])["size_bytes_fp32"] + 400_000
    assert str(ROOT).encode() not in (folder / "model.onnx").read_bytes()
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param, "the number of images is free"


def test_a_session_gives_what_the_gate_counted(folder, preprocessing):
    session, right = open_session(folder / "model.onnx"), 0
    for images, labels in open_source("embedded").evaluation(IMAGES_OF_EMBEDDED, preprocessing).batches(64):
        right += int((session.run(images.numpy()).argmax(1) == labels.numpy()).sum())
    assert 100 * right / IMAGES_OF_EMBEDDED == pytest.approx(manifest_of(folder)["gate"]["top1"])


def test_an_integer_layernorm_becomes_a_float_one_only_on_request_and_as_a_new_record(kept, tmp_path, capsys):
    store, trials = kept
    before, original = len(list(store.records())), store.get(trials["corrected"])
    assert exported(store, trials["corrected"], tmp_path / "refused") == 1
    errors = capsys.readouterr().err
    assert "integer LayerNorm" in errors
    assert "mend it with fqvit(integer_layernorm=off), or with harness export --float-layernorm" in errors
    assert not list(tmp_path.iterdir())
    assert len(list(store.records())) == before
    assert exported(store, trials["corrected"], tmp_path / "float", "--float-layernorm") == 0
    shown, manifest = capsys.readouterr().out, manifest_of(tmp_path / "float")
    record = store.get(manifest["record"])
    assert record["id"] != trials["corrected"]
    assert record["altered_from"] == manifest["altered_from"] == trials["corrected"]
    assert record["altered"] == manifest["altered"] == ["13 integer LayerNorms computed in floating point"]
    assert f"record   {record['id']}, new: {record['altered'][0]} in trial {trials['corrected']}" in shown
    gate = manifest["gate"]
    assert gate["top1_simulated"] == record["metrics"]["top1"]
    assert gate["sqnr_db_simulated"] == record["metrics"]["logit_sqnr_db"]
    assert store.get(trials["corrected"]) == original, "the original is what it was"
    for trial in (trials["corrected"], record["id"]):  # the same record, not another one
        assert exported(store, trial, tmp_path / trial, "--float-layernorm") == 0
        assert manifest_of(tmp_path / trial)["record"] == record["id"]
    assert len(list(store.records())) == before + 1


def test_a_record_whose_methods_are_others_today_is_not_altered(kept, tmp_path, monkeypatch, capsys):
    """The new record would say that it is made by methods that did not make it."""
    store, trials = kept
    monkeypatch.setattr(altering, "original_id", lambda identity: "0" * 16)
    assert exported(store, trials["corrected"], tmp_path / "out", "--float-layernorm") == 2
    assert f"trial {trials['corrected']} is {'0' * 16} today" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_power_of_two_factors_offsets_and_four_bits(kept, tmp_path):
    store, trials = kept
    assert exported(store, trials["corrected"], tmp_path / "four", "--int4", "--float-layernorm") == 0
    manifest = manifest_of(tmp_path / "four")
    graph = onnx.load(tmp_path / "four" / "model.onnx").graph
    four = [one for one in graph.initializer if one.data_type == onnx.TensorProto.INT4]
    assert sum(np.prod(one.dims) > 900 for one in four) == 26
    why = {row["stored"] for row in manifest["sites"]}
    assert any("factor per channel" in text for text in why)
    assert any("times the sum of the input" in text for text in why)


def test_no_integer_form_is_exit_1_and_nothing_is_written(kept, tmp_path, capsys):
    store, trials = kept
    out = tmp_path / "out"
    assert exported(store, trials["lis"], out, "--json", "--float-layernorm") == 1
    said, errors = capsys.readouterr()
    assert "fqvit(lis=false)" in errors
    assert "blocks.0.attn:softmax" in errors
    assert json.loads(said)["exported"] is False
    assert not list(tmp_path.iterdir())
    assert all(record.get("altered_from") != trials["lis"] for record in store.records()), "no record of what is refused"


def judged(kept, trial="minmax", images=IMAGES_OF_EMBEDDED):
    store, trials = kept
    network = load_quantized(store, trials[trial])
    data = open_source("embedded").evaluation(images, network.preprocessing)
    simulation = Simulation(store.correct(trials[trial])[0], network.record["metrics"]["logit_sqnr_db"])
    return Judged(network.model, data, simulation, lambda a, b: Interval(0.0, -1.0, 1.0), 64, 1, Progress())


def test_the_gate_names_the_first_product_that_computes_something_else(kept, folder, tmp_path):
    graph = onnx.load(folder / "model.onnx")
    bias = next(one for one in graph.graph.initializer if one.name == "segments.2.op_linear_5.bias")
    values = onnx.numpy_helper.to_array(bias) + 1
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    path = tmp_path / "model.onnx"
    onnx.save(graph, path)
    with pytest.raises(NotExported, match=r"equal codes, blocks\.1\.attn\.proj:linear differs"):
        passed(path, graph, onnx_runtime, judged(kept))


def test_the_gate_holds_the_whole_network_against_the_simulation(kept, folder):
    path = folder / "model.onnx"
    lost = replace(judged(kept), paired=lambda a, b: Interval(-20.0, -25.0, -15.0))
    with pytest.raises(NotExported, match=r"interval -25\.00 to -15\.00.*no single operation departs"):
        passed(path, onnx.load(path), onnx_runtime, lost)
    better = replace(judged(kept), simulation=Simulation(judged(kept).simulation.correct, 99.0))
    with pytest.raises(NotExported, match=r"SQNR to full precision .* instead of 99\.0 dB"):
        passed(path, onnx.load(path), onnx_runtime, better)


requires_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")


@requires_openvino
def test_openvino_computes_with_the_codes_of_the_file(kept, tmp_path):
    """By default it gives inputs of linear operations codes of its own, and every product is a code off here and there."""
    store, trials = kept
    assert exported(store, trials["deploy"], tmp_path / "out", "--target", "openvino") == 0
    gate = manifest_of(tmp_path / "out")["gate"]
    assert gate["parity"]["products"] == 26
    assert gate["parity"]["worst"]["differing"] <= BOUNDS.differing
    assert gate["integer_macs_of_layers"] == 1.0


@requires_openvino
def test_openvino_leaves_floating_point_inputs_as_they_are(kept, tmp_path):
    """Where only weights are quantized, its own codes of the inputs would be another network; the file forbids them."""
    import openvino

    store, trials = kept
    assert exported(store, trials["weights"], tmp_path / "out", "--target", "openvino") == 0
    gate = manifest_of(tmp_path / "out")["gate"]
    assert gate["sqnr_db"] == pytest.approx(gate["sqnr_db_simulated"], abs=0.01)
    assert gate["integer_macs"] == 0.0
    opened = openvino.Core().compile_model(str(tmp_path / "out" / "model.xml"), "CPU")
    assert opened.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0


@requires_openvino
def test_openvino_is_refused_where_it_is_silently_wrong(kept, tmp_path, monkeypatch, capsys):
    """A quantizer behind the convolution and one behind the class token's concatenation (OpenVINO 2026.4)."""
    store, trials = kept
    monkeypatch.setattr(networks, "window_of", lambda operation: None)  # patches as a convolution, not as a product
    assert exported(store, trials["minmax"], tmp_path / "wrong", "--target", "openvino") == 1
    errors = capsys.readouterr().err
    assert "departs from the simulation: top-1" in errors
    assert "the first operation that departs is blocks.0.attn.qkv:linear" in errors
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A small network of convolutions with batch norms on image files, exported."""
    root = image_folder(tmp_path_factory.mktemp("photographs") / "data", val=8)
    store = Store(root.parent / "runs")
    record = run_trial(folder_spec(root, "minmax(sites=deploy)+gptq"), store).record
    assert record["status"] == "done", record["error"]
    assert exported(store, record["id"], root.parent / "out") == 0
    return store, record, root, root.parent / "out"


def ran(capsys, monkeypatch, script, *arguments):
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(ROOT / "examples" / script), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def test_the_example_classifies_as_the_gate_did(photographs, capsys, monkeypatch):
    _, _, root, out = photographs
    lines = ran(capsys, monkeypatch, "classify.py", out, root / "val")
    gate = manifest_of(out)["gate"]
    assert lines[-1] == f"top-1 {gate['top1']:.2f} % of {gate['images']} images"
    assert len(lines) == gate["images"] + 1


def test_the_example_sees_the_same_pixels(photographs):
    store, record, root, _ = photographs
    preprocessing = load_quantized(store, record["id"], weights=root.parent / "w.safetensors").preprocessing
    example = runpy.run_path(str(ROOT / "examples" / "classify.py"))
    path = next((root / "val").rglob("*.png"))
    expected = preprocessing.transform()(Image.open(path).convert("RGB"))
    np.testing.assert_allclose(example["prepared"](path, preprocessing.as_dict())[0], expected.numpy(), atol=1e-6)


def test_the_example_needs_nothing_of_the_harness():
    tree = ast.parse((ROOT / "examples" / "classify.py").read_text(encoding="utf-8"))
    imports = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imports |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imports == {"argparse", "collections.abc", "json", "math", "pathlib", "typing", "numpy", "onnxruntime", "PIL"}


def test_a_trial_as_a_module(photographs, capsys, monkeypatch):
    store, record, root, _ = photographs
    path = next((root / "val").rglob("*.png"))
    weights = root.parent / "w.safetensors"
    lines = ran(capsys, monkeypatch, "load_trial.py", record["id"][:8], path, "--store", store.root, "--weights", weights)
    assert len(lines) == 5


def test_convolutions_run_on_integers(photographs):
    *_, out = photographs
    manifest = manifest_of(out)
    assert manifest["gate"]["kernels"]["QLinearConv"] > 0
    floats = [row for row in manifest["products"] if row["arithmetic"] == "float"]
    assert all(row["why"] for row in floats)


@nightly
@requires_images
def test_deit_tiny_at_the_sites_of_deployment(tmp_path):
    """All linear operations, patches and classifier included, in integer kernels."""
    store = Store(tmp_path / "runs")
    spec = TrialSpec(
        "minmax(sites=deploy)",
        bits="w8a8",
        model="deit_tiny_patch16_224",
        weights=DEIT,
        data=str(IMAGES),
        calib=8,
        eval_limit=60,
        device="cpu",
    )
    record = run_trial(spec, store).record
    assert exported(store, record["id"], tmp_path / "out") == 0
    gate = manifest_of(tmp_path / "out")["gate"]
    assert gate["kernels"]["MatMulIntegerToFloat"] == 50
    assert gate["integer_macs_of_layers"] == 1.0
    assert gate["integer_macs"] > 0.85, "the rest is attention's products"
    assert gate["bytes"] < 7e6


def test_mistakes_name_what_is_missing(kept, tmp_path, capsys, monkeypatch):
    store, trials = kept
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert exported(store, trials["minmax"], tmp_path / "full") == 2
    assert "is not empty" in capsys.readouterr().err
    assert exported(store, trials["minmax"], tmp_path / "out", "--data", str(image_folder(tmp_path / "data"))) == 2
    assert "are not those of trial" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"unknown runtime 'onnx'. Did you mean onnxruntime"):
        open_session(tmp_path / "full" / "file", "onnx")
    with pytest.raises(UsageError, match=r"not_there is not installed \(pip install 'ptq-harness\[export\]'\)"):
        needing(("not_there",), RUNTIMES["onnxruntime"].extra, "harness.deploy.onnx_runtime")
    with pytest.raises(UsageError, match="cannot read"):
        open_session(tmp_path / "full" / "file")


def test_a_trial_whose_state_is_gone_says_how_to_make_it_again(kept, tmp_path, capsys):
    store = Store(tmp_path / "runs")
    record = run_trial(replace(EVERY_VALUE, eval_limit=20), store).record
    (store.folder(record["id"]) / "quantizers.safetensors").unlink()
    assert exported(store, record["id"], tmp_path / "out") == 2
    errors = capsys.readouterr().err
    assert "has no file of quantizers" in errors
    assert "--force" in errors
