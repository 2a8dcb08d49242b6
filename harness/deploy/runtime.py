"""Runtimes that compute an exported file. Their libraries are optional and imported when a session is opened."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Protocol

import numpy as np

from harness.errors import UsageError, nearest


class Session(Protocol):
    """A file that is ready to be computed."""

    @property
    def version(self) -> str:
        """Name and version of the runtime, for example ``onnxruntime 1.32.0``."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """Logits ``(n, classes)`` of preprocessed images ``(n, c, h, w)``, both float32; ``n`` is free."""


class Runtime(NamedTuple):
    """One runtime.

    Attributes:
        module: Our module that imports its library; it has ``open_file(file, threads)``.
        libraries: What it imports.
        extra: The extra of this package that brings them.
    """

    module: str
    libraries: tuple[str, ...]
    extra: str


RUNTIMES = {
    "onnxruntime": Runtime("harness.deploy.onnx_runtime", ("onnxruntime",), "export"),
    "openvino": Runtime("harness.deploy.openvino_runtime", ("openvino",), "openvino"),
}


def open_session(file: Path, runtime: str = "onnxruntime", threads: int = 1) -> Session:
    """Open an exported file.

    Args:
        file: ``model.onnx`` of an exported folder, or any ONNX file that reads one batch of images.
        runtime: ``onnxruntime`` or ``openvino``.
        threads: How many threads one run uses.

    Raises:
        UsageError: The runtime is unknown or not installed, the file is missing, or the runtime cannot read it.
    """
    known = RUNTIMES.get(runtime)
    if known is None:
        raise UsageError(f"unknown runtime {runtime!r}.{nearest(runtime, RUNTIMES)} Expected {' or '.join(RUNTIMES)}")
    check_threads(threads)
    if not file.is_file():
        raise UsageError(f"{str(file)!r} {'is no file' if file.exists() else 'does not exist'}")
    module = needing(known.libraries, known.extra, known.module)
    session: Session = module.open_file(file, threads)
    return session


def check_threads(threads: int) -> None:
    """Refuse a number of threads below one.

    Raises:
        UsageError: It is.
    """
    if threads < 1:
        raise UsageError(f"{threads} threads asked for, expected at least 1")


def needing(libraries: tuple[str, ...], extra: str, module: str) -> ModuleType:
    """Import one of our modules that needs optional libraries.

    Raises:
        UsageError: One of them is not installed.
    """
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed",
            f"pip install 'ptq-harness[{extra}]'",
        )
    return importlib.import_module(module)
