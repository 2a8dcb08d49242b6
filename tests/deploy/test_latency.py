"""``harness latency`` on small files: what it measures, keeps, shows, and what it refuses."""

import json
import os

import numpy as np
import pytest

from harness.cli.main import main
from harness.deploy.latency import Asked, measure
from harness.deploy.onnx_input import input_of
from harness.errors import UsageError
from harness.run.run_trial import run_trial
from harness.store.check import problems
from harness.store.latencies import latencies_of
from harness.store.store import Store
from harness.trial.latency_check import problems_of
from harness.trial.spec import TrialSpec
from tests.deploy.tiny import IMAGE, manifest, onnx, write
from tests.store.test_store import record

ID = record()["id"]
QUICK = ["--rounds", "7", "--warm-up", "1", "--quiet"]


@pytest.fixture
def files(tmp_path):
    """An exported folder: the file, its float32 model, its manifest."""
    folder = tmp_path / "exported"
    folder.mkdir()
    write(folder / "model.onnx", quantized=True)
    write(folder / "float32.onnx")
    manifest(folder, ID)
    return folder


@pytest.fixture
def harness(tmp_path, capsys):
    def call(*words):
        code = main([*map(str, words), "--store", str(tmp_path / "runs")])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_a_measurement_has_all_that_it_depends_on(files):
    found = measure(files / "model.onnx", files / "float32.onnx", ID, Asked(batches=(1, 4), rounds=9, warm_up=1))
    assert problems_of(json.loads(json.dumps(found))) == []
    assert [(one["batch"], one["rounds"]) for one in found["batches"]] == [(1, 9), (4, 9)]
    assert found["runtime"].startswith("onnxruntime ")
    assert found["quantized"]["bytes"] == (files / "model.onnx").stat().st_size
    assert (found["quantized"]["name"], found["float32"]["name"]) == ("model.onnx", "float32.onnx")
    assert found["quantized"]["sha256"] != found["float32"]["sha256"]
    assert (found["threads"], found["computer"]["cores"]) == (1, os.cpu_count())
    assert str(files) not in json.dumps(found), "no path of this machine"
    for one in found["batches"]:
        assert one["low"] <= one["ratio"] <= one["high"]


def test_it_is_kept_beside_the_record_and_shown(files, harness, tmp_path):
    store = Store(tmp_path / "runs")
    store.save(record())
    code, out, err = harness("latency", files / "model.onnx", *QUICK, "--batch", "1,3")
    assert code == 0, err
    (found,) = latencies_of(store, ID)
    assert [one["batch"] for one in found["batches"]] == [1, 3]
    assert f"trial {ID}" in out
    assert f"kept     {store.folder(ID) / 'latency'}" in out
    assert "speed-up" in out
    assert [one.reason for one in problems(store) if "latency" in str(one.path)] == []
    code, out, _ = harness("report", "--quiet")
    assert code == 0
    assert "latency, × float32" in out
    code, _, _ = harness("latency", files / "model.onnx", *QUICK, "--batch", "1")
    assert len(list(latencies_of(store, ID))) == 2, "one trial may have many"


def test_a_file_of_no_trial_is_measured_and_not_kept(files, harness, tmp_path):
    code, out, err = harness("latency", files / "model.onnx", *QUICK, "--batch", "2", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["trial"], found["kept"]) == (None, None)
    assert not list((tmp_path / "runs").rglob("*.json"))
    (files / "manifest.json").unlink()
    other = (files / "float32.onnx").rename(tmp_path / "theirs.onnx")
    code, out, _ = harness("latency", files / "model.onnx", "--float", other, *QUICK)
    assert code == 0
    assert "kept     nowhere: no record of this store belongs to the file" in out


def test_a_machine_that_is_busy_is_said(files, harness, monkeypatch):
    monkeypatch.setattr("harness.deploy.latency.others_between", lambda *_: 0.9)
    code, out, err = harness("latency", files / "model.onnx", *QUICK)
    assert code == 0
    assert "busy machine (0.90 cores)" in out
    assert "warning: the machine was busy: other processes kept 0.90 cores busy; measure again when it is quiet" in err
    monkeypatch.setattr("harness.deploy.latency.others_between", lambda *_: None)
    assert "machine" not in harness("latency", files / "model.onnx", *QUICK)[1].splitlines()[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--batch", "0"], "--batch has 0, expected 1 to 4,096"),
        (["--batch", "1,1"], "--batch 1,1 names a size twice"),
        (["--batch", "one"], "--batch has 'one', expected a whole number from 1 to 4,096"),
        (["--batch", ""], "--batch has ''"),
        (["--rounds", "0"], "--rounds has 0"),
        (["--warm-up", "-1"], "--warm-up has -1"),
        (["--threads", "1025"], "--threads has 1025"),
        (["--threads", "1000"], "1000 threads asked for, this process may use"),
        (["--runtime", "onnx"], "unknown runtime 'onnx'. Did you mean onnxruntime or openvino?"),
        (["--float", "gone.onnx"], "'gone.onnx' cannot be read: No such file"),
    ],
)
def test_what_cannot_be_measured(files, harness, words, said):
    code, _, err = harness("latency", files / "model.onnx", *QUICK, *words)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1


def corrupted(folder):
    (folder / "model.onnx").write_bytes(b"\xff\xfe" * 50)


def empty(folder):
    (folder / "model.onnx").write_bytes(b"")


def gone(folder):
    (folder / "model.onnx").unlink()


def pipe(folder):
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")


def other_classes(folder):
    write(folder / "model.onnx", classes=4, quantized=True)


def other_images(folder):
    write(folder / "model.onnx", image=(1, 5, 5), quantized=True)


def one_image(folder):
    write(folder / "model.onnx", batch=1, quantized=True)


def free_size(folder):
    write(folder / "model.onnx", image=IMAGE)
    model = onnx.load(folder / "model.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "h"
    onnx.save(model, folder / "model.onnx")


def two_inputs(folder):
    write(folder / "model.onnx", inputs=2)


def integers(folder):
    write(folder / "model.onnx", kind=onnx.TensorProto.INT64)


def weights_elsewhere(folder):
    model = onnx.load(folder / "model.onnx")
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    tensor.ClearField("raw_data")
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def fails_in_its_run(folder):
    model = onnx.load(folder / "model.onnx")
    shape = onnx.numpy_helper.from_array(np.array([1, 16]), "one")
    model.graph.initializer.append(shape)
    model.graph.node[0].CopyFrom(onnx.helper.make_node("Reshape", ["x0", "one"], ["flat"]))
    onnx.save(model, folder / "model.onnx")


def vast_images(folder):
    for name in ("model.onnx", "float32.onnx"):
        model = onnx.load(folder / name)
        del model.graph.node[:], model.graph.initializer[:]
        make = onnx.helper.make_node
        model.graph.node.extend([make("GlobalAveragePool", ["x0"], ["p"]), make("Flatten", ["p"], ["logits"])])
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
        for axis in (2, 3):
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 10**6
        onnx.save(model, folder / name)


def unknown_operation(folder):
    model = onnx.load(folder / "model.onnx")
    model.graph.node[0].op_type = "Nonsense"
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def manifest_of_a_path(folder):
    manifest(folder, "../../../../etc/passwd")


def manifest_of_another_file(folder):
    write(folder / "model.onnx", quantized=False)


def manifest_of_no_files(folder):
    manifest(folder, ID, files=["model.onnx"])


def manifest_of_nothing(folder):
    (folder / "manifest.json").write_text("[1, 2]")


def manifest_cut(folder):
    (folder / "manifest.json").write_text('{"record": ')


def manifest_folder(folder):
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


DAMAGE = [
    (corrupted, "is no ONNX file"),
    (empty, "is no ONNX file"),
    (gone, "does not exist"),
    (pipe, "is no file"),
    (other_classes, "of different networks: float32 gives logits (1, 3), quantized (1, 4)"),
    (other_images, "of different networks: float32 reads images (1, 4, 4), quantized (1, 5, 5)"),
    (one_image, "reads batches of 1, not of 32 (use --batch 1)"),
    (free_size, "expected one batch of float32 images of a fixed size"),
    (two_inputs, "reads 2 inputs"),
    (integers, "expected one batch of float32 images"),
    (weights_elsewhere, "has its weights in another file"),
    (unknown_operation, "cannot read"),
    (fails_in_its_run, "cannot compute 32 images with the file"),
    (vast_images, "has more than 268,435,456 values"),
    (manifest_of_a_path, "names no trial"),
    (manifest_of_nothing, "names no trial"),
    (manifest_of_another_file, "is not the file of manifest.json beside it"),
    (manifest_of_no_files, "is not the file of manifest.json beside it"),
    (manifest_cut, "is no manifest"),
    (manifest_folder, "cannot be read: it is a folder"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE, ids=[one.__name__ for one, _ in DAMAGE])
def test_files_that_do_not_fit_are_one_line(files, harness, damage, said):
    damage(files)
    if (files / "model.onnx").is_file() and not damage.__name__.startswith("manifest"):
        manifest(files, ID)
    code, out, err = harness("latency", files / "model.onnx", *QUICK)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_file_that_is_not_the_network_of_its_trial_is_not_kept(files, harness, tmp_path):
    store = Store(tmp_path / "runs")
    store.save(record())
    manifest(files, ID, changes=["integer LayerNorms are float LayerNorms"])
    code, out, _ = harness("latency", files / "model.onnx", *QUICK)
    assert code == 0
    assert f"nowhere: it is not the network of trial {ID}" in out
    assert list(latencies_of(store, ID)) == []


def test_neither_file_nor_trial(harness):
    code, _, err = harness("latency", "0123abcd", *QUICK)
    assert code == 2
    assert "0 trials match '0123abcd'" in err


@pytest.mark.slow
def test_a_trial_is_exported_for_it(tmp_path, harness):
    store = Store(tmp_path / "runs")
    trial = run_trial(TrialSpec("minmax(sites=deploy)", calib=16, eval_limit=200), store).record["id"]
    code, out, err = harness("latency", trial[:8], *QUICK, "--batch", "1,8", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["trial"], found["quantized"]["name"], found["float32"]["name"]) == (trial, "model.onnx", "float32.onnx")
    assert found["quantized"]["bytes"] < found["float32"]["bytes"] / 2
    (kept,) = latencies_of(store, trial)
    assert kept == {name: value for name, value in found.items() if name != "kept"}


def test_a_float32_model_that_is_not_known(files, harness):
    (files / "float32.onnx").unlink()
    code, _, err = harness("latency", files / "model.onnx", *QUICK)
    assert code == 2
    assert f"its trial {ID} is not in" in err
    (files / "manifest.json").unlink()
    assert (
        "no manifest.json beside it names its trial (give it with --float FILE)"
        in harness("latency", files / "model.onnx", *QUICK)[2]
    )


def test_the_input_of_a_file(tmp_path):
    assert input_of(write(tmp_path / "a.onnx")) == (None, IMAGE)
    assert input_of(write(tmp_path / "b.onnx", batch=4)) == (4, IMAGE)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        input_of(tmp_path / "c.onnx")
