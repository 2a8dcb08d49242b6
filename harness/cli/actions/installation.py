"""The checks of ``harness doctor`` that load torch and timm; each returns what it found or raises what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import torch

from harness.data.sources import open_source
from harness.machine.measure import environment
from harness.models.loading import load_model


def libraries() -> str:
    """Versions of the libraries."""
    versions = environment(torch.device("cpu"))["versions"]
    return ", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items())


def machine() -> str:
    """Processor, memory, Python."""
    facts = environment(torch.device("cpu"))
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_bytes'] / 2**30:.0f} GiB, Python {facts['python']}"


def gpu() -> str:
    """Names of the GPUs."""
    if not torch.cuda.is_available():
        return "none (trials run on the CPU)"
    return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


def embedded_model() -> str:
    """The embedded network and images, loaded.

    Raises:
        HarnessError: A file is missing or damaged.
    """
    model, source = load_model("embedded"), open_source("embedded")
    return f"{model.name}, weights {model.weights_sha256[:12]}, {source.calibration_size} calibration images"


CHECKS: dict[str, Callable[[], str]] = {
    "libraries": libraries,
    "machine": machine,
    "gpu": gpu,
    "embedded model": embedded_model,
}
