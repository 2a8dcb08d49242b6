"""``manifest.json`` beside an exported file: what it is, how images become its input, what the gate measured."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from harness import __version__
from harness.data.classes import class_names
from harness.deploy.gate import Figures
from harness.deploy.kernels import multiply_accumulates
from harness.deploy.onnx_file import INPUT, OPSET, OUTPUT
from harness.deploy.placement import product_rows, site_rows
from harness.machine.measure import environment
from harness.quant.network.qmodel import QuantizedModel
from harness.store.reading import sha256_of
from harness.trial.record import Record

FORM = 1  # raised when a field changes its meaning
NAME = "manifest.json"
LIBRARIES = ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "openvino")


def manifest_of(record: Record, model: QuantizedModel, files: Sequence[Path], figures: Figures) -> dict[str, Any]:
    """All that somebody needs who has only the folder.

    Args:
        record: The trial's.
        model: The network that was exported.
        files: What was written; the first is what a runtime opens.
        figures: What the gate measured.
    """
    return {
        "manifest": FORM,
        "record": record["id"],
        "altered": record.get("altered", []),
        "altered_from": record.get("altered_from"),
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
        "classes": [] if own_classes(record) else [one._asdict() for one in class_names(record["data"]["name"])],
        "gate": figures.as_dict(),
        "products": product_rows(model, figures.kernels, multiply_accumulates(model)),
        "sites": site_rows(model, figures.kernels),
        "versions": {"ptq-harness": __version__, **_versions()},
        "machine": _machine(),
    }


def own_classes(record: Record) -> bool:
    """Whether the classes are those of the user's folders: nobody knows their names."""
    return "labels_sha256" in record["spec"]


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
