"""A finished trial as a folder that a runtime opens: file and manifest, written only when the gate lets it through."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import torch

from harness.data.sets import EvaluationSet
from harness.data.sources import open_judged
from harness.deploy.altered import altered_trial
from harness.deploy.gate import Interval, Judged, NotExported, Paired, Simulation, passed
from harness.deploy.int4 import store_int4
from harness.deploy.manifest import NAME, manifest_of
from harness.deploy.names import name_sites
from harness.deploy.network import deployed
from harness.deploy.onnx_file import write_onnx
from harness.deploy.paths import operation_paths, quantizer_paths
from harness.deploy.refusals import check, refusals
from harness.deploy.runtime import check_threads, needing
from harness.errors import IncompatibleError, UsageError, nearest
from harness.machine.progress import Progress
from harness.quant.network.qmodel import QuantizedModel
from harness.run.evaluate import evaluate
from harness.run.reload import QuantizedNetwork, load_quantized
from harness.store.store import Store
from harness.trial.record import task_of
from harness.trial.spec import FEATURES, TrialSpec

INT4_BITS = 4
__all__ = ["TARGETS", "Interval", "NotExported", "Wanted", "export"]


class Target(NamedTuple):
    """What is written for whom.

    Attributes:
        file: Name of the file that a runtime opens.
        module: Our module of the runtime that is the verifier.
        libraries: What it needs.
        extra: The extra of this package that brings them.
    """

    file: str
    module: str
    libraries: tuple[str, ...]
    extra: str


TARGETS = {
    "onnx": Target("model.onnx", "harness.deploy.onnx_runtime", ("onnxruntime",), "export"),
    "openvino": Target("model.xml", "harness.deploy.openvino_runtime", ("openvino",), "openvino"),
}


@dataclass(frozen=True)
class Wanted:
    """One export.

    Attributes:
        trial: Full id of a finished trial.
        spec: The trial on this machine: where its images and weights are, batch.
        target: One of ``TARGETS``.
        out: Folder to write; must not exist or be empty.
        int4: Store weights of four bits in four.
        float_layernorm: Where there are integer LayerNorms, the altered trial with float ones is exported in its place.
        threads: Of the runtime in the gate.
    """

    trial: str
    spec: TrialSpec
    target: str
    out: Path
    int4: bool = False
    float_layernorm: bool = False
    threads: int = 1


def export(store: Store, wanted: Wanted, paired: Paired, progress: Progress) -> dict[str, Any]:
    """Write a trial's network for a runtime, and run it there before it counts as exported.

    Args:
        store: Where the trial is.
        wanted: What is asked for.
        paired: The difference of two results with its paired interval.
        progress: Display.

    Returns:
        The manifest, as it was written. It names the record whose network is in the file, and the trial it comes from where
        that was altered.

    Raises:
        UsageError: The trial, its files, images or weights are not there, or a library is missing.
        IncompatibleError: A site has no integer form; nothing was written.
        NotExported: The gate found the file to be wrong; it was removed.
    """
    target = _target(wanted)
    runtime = needing(target.libraries, target.extra, target.module)
    _check_out(wanted.out)
    check_threads(wanted.threads)
    network = _network(store, wanted, progress)
    judged = _judged(store, network, wanted, paired, progress)
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=wanted.out.parent) as folder:
        place = Path(folder) / "made"
        place.mkdir()
        graph = _written(network, place / "model.onnx", wanted, progress)
        files = _for_target(target, runtime, place)
        figures = passed(files[0], graph, runtime, judged)
        manifest = manifest_of(network.record, network.model, files, figures)
        (place / NAME).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        if wanted.out.exists():
            wanted.out.rmdir()
        place.rename(wanted.out)
    return manifest


def _check_task(network: QuantizedNetwork) -> None:
    """Refuse what has no top-1 to judge a file by.

    Raises:
        IncompatibleError: The trial measures features.
    """
    if task_of(network.record) == FEATURES:
        raise IncompatibleError(
            f"trial {network.record['id']} measures features: a file is judged by its top-1", "export one of a classifier"
        )


def _network(store: Store, wanted: Wanted, progress: Progress) -> QuantizedNetwork:
    """The network that is exported: the trial's, or that of the altered trial.

    Raises:
        IncompatibleError: A site has no integer form.
    """
    network = load_quantized(store, wanted.trial, weights=wanted.spec.weights)
    _check_task(network)
    steps = [step["name"] for step in network.record["spec"]["stack"]]
    check(refusals(network.model, steps, float_layernorm=wanted.float_layernorm), wanted.trial)
    if not network.model.integer_norms:
        return network
    record = altered_trial(store, wanted.trial, wanted.spec, progress)
    return load_quantized(store, record["id"], weights=wanted.spec.weights)


def _judged(store: Store, network: QuantizedNetwork, wanted: Wanted, paired: Paired, progress: Progress) -> Judged:
    """What the file will be held against."""
    data, batch = _images(network, wanted.spec), wanted.spec.batch
    simulation = _simulation(store, network, data, batch, progress)
    return Judged(network.model, data, simulation, paired, batch, wanted.threads, progress)


def _target(wanted: Wanted) -> Target:
    if wanted.target not in TARGETS:
        raise UsageError(
            f"unknown target {wanted.target!r}.{nearest(wanted.target, TARGETS)} Expected {' or '.join(TARGETS)}"
        )
    return TARGETS[wanted.target]


def _check_out(out: Path) -> None:
    """Refuse to write over anything.

    Raises:
        UsageError: The folder is not empty, or no folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = "is not empty" if out.is_dir() else "is no folder"
        raise UsageError(f"{str(out)!r} {what}: expected a new folder", "give another one with --out")


def _images(network: QuantizedNetwork, spec: TrialSpec) -> EvaluationSet:
    """The trial's evaluation images.

    Raises:
        UsageError: Those found are others.
    """
    source = open_judged(spec)
    expected = network.record["spec"]["data_fingerprint"]
    if source.fingerprint != expected:
        raise UsageError(
            f"the images of {str(spec.data)!r} are not those of trial {network.record['id']}", "give them with --data"
        )
    with torch.inference_mode():
        outputs = network(torch.zeros(1, *network.preprocessing.input_size)).shape[1]
    labelled = source.labelled(outputs, network.record["model"], spec.classes)
    if labelled.labels_sha256 != network.record["spec"].get("labels_sha256", ""):
        raise UsageError(
            f"the class folders of {str(spec.data)!r} are not labelled as those of trial {network.record['id']}",
            "give its class file with --classes",
        )
    return labelled.evaluation(spec.eval_limit, network.preprocessing)


def _simulation(store: Store, network: QuantizedNetwork, data: EvaluationSet, batch: int, progress: Progress) -> Simulation:
    """What the simulation computes: what the trial measured, or, where that is not kept image by image, what it does now."""
    record = network.record
    if (store.folder(record["id"]) / "correct.npy").is_file():
        return Simulation(store.correct(record["id"])[0], record["metrics"]["logit_sqnr_db"])
    result = evaluate(network.model, data, batch, progress)
    return Simulation(result.bitmap()[0], result.metrics()["logit_sqnr_db"])


def _written(network: QuantizedNetwork, path: Path, wanted: Wanted, progress: Progress) -> onnx.ModelProto:
    """Write the ONNX file and return what is in it."""
    model = network.model
    with progress.task("export with torch", 1):
        write_onnx(deployed(model), network.preprocessing.input_size, path)
    graph = onnx.load(path)
    if wanted.int4:
        store_int4(graph, _four_bit_codes(model))
    name_sites(graph, operation_paths(model), quantizer_paths(model))
    onnx.checker.check_model(graph)
    onnx.save(graph, path)
    return graph


def _four_bit_codes(model: QuantizedModel) -> set[str]:
    """Names of the stored codes of weights with at most four bits."""
    narrow = {name for name in model.weights if name in model.quantizers and model.quantizers[name].bits <= INT4_BITS}
    sites = {model.weights[name].node for name in narrow}
    return {f"{path}.weight.codes" for path, _ in operation_paths(model).items() if path.rpartition(".op_")[2] in sites}


def _for_target(target: Target, runtime: Any, place: Path) -> list[Path]:
    """The files that are kept, the one that a runtime opens first."""
    source = place / "model.onnx"
    if target.file == source.name:
        return [source]
    path = place / target.file
    runtime.convert(source, path)
    source.unlink()
    return [path, path.with_suffix(".bin")]
