"""``manifest.json`` beside an exported file: what it is, how images become its input, what the gate measured."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from timm.data import ImageNetInfo

from harness import __version__
from harness.data.labels import IMAGENET_CLASSES
from harness.deploy.gate import Figures
from harness.deploy.kernels import multiply_accumulates
from harness.deploy.onnx_file import INPUT, OPSET, OUTPUT
from harness.deploy.placement import product_rows, site_rows
from harness.embedded.assets import CLASSES
from harness.machine.measure import environment
from harness.quant.network.qmodel import QuantizedModel
from harness.store.reading import sha256_of
from harness.trial.record import Record
from harness.trial.spec import EMBEDDED

FORM = 1  # raised when a field changes its meaning
NAME = "manifest.json"
LIBRARIES = ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "openvino")


def manifest_of(
    record: Record, model: QuantizedModel, files: Sequence[Path], figures: Figures, changes: Sequence[str]
) -> dict[str, Any]:
    """All that somebody needs who has only the folder.

    Args:
        record: The trial's.
        model: The network that was exported.
        files: What was written; the first is what a runtime opens.
        figures: What the gate measured.
        changes: What differs from the trial's network; empty for nothing.
    """
    return {
        "manifest": FORM,
        "record": record["id"],
        "changes": list(changes),
        "model": record["model"],
        "weights_sha256": record["spec"]["weights_sha256"],
        "stack": record["stack"],
        "bits": record["bits"],
        "file": files[0].name,
        "files": {path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in files},
        "input": INPUT,
        "output": OUTPUT,
        "opset": OPSET,
        "preprocessing": record["spec"]["preprocessing"],
        "classes": classes(record),
        "gate": figures.as_dict(),
        "products": product_rows(model, figures.kernels, multiply_accumulates(model)),
        "sites": site_rows(model),
        "versions": {"ptq-harness": __version__, **_versions()},
        "machine": _machine(),
    }


def classes(record: Record) -> list[dict[str, str]]:
    """Id and name of every class in the order of the logits; empty where they are not known."""
    if record["data"]["name"] == EMBEDDED:
        return [{"id": str(index), "name": name} for index, name in enumerate(CLASSES)]
    if "labels_sha256" in record["spec"]:  # classes of the user's own
        return []
    info = ImageNetInfo("imagenet-1k")
    labels = info.label_names()
    if len(labels) != IMAGENET_CLASSES:
        return []
    return [{"id": label, "name": info.label_name_to_description(label)} for label in labels]


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _machine() -> dict[str, Any]:
    """Where the gate ran: kernels differ between processors."""
    facts = environment(torch.device("cpu"))
    return {"cpu": facts["cpu"], "system": platform.system(), "architecture": platform.machine()}
