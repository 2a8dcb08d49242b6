"""ONNX Runtime on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from harness.deploy.kernels import Node
from harness.errors import UsageError

ERRORS_ONLY = 3
INTEGER_KERNELS = frozenset(
    {
        "MatMulIntegerToFloat",
        "MatMulInteger",
        "QLinearMatMul",
        "QLinearConv",
        "ConvInteger",
        "QGemm",
        "DynamicQuantizeMatMul",
    }
)
NAME = f"onnxruntime {onnxruntime.__version__}"


class OnnxSession:
    """A file in ONNX Runtime.

    Args:
        session: An open session with one input and one output.
    """

    version = NAME

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session = session
        self._input = session.get_inputs()[0].name

    def run(self, images: np.ndarray) -> np.ndarray:
        """Logits ``(n, classes)`` of preprocessed images ``(n, c, h, w)``."""
        logits: np.ndarray = self.session.run(None, {self._input: images})[0]
        return logits


def open_file(file: Path, threads: int, optimized: Path | None = None) -> OnnxSession:
    """Open a file on the CPU.

    Args:
        file: The file.
        threads: Threads of one run.
        optimized: Where the runtime writes the graph that it really computes; None for nowhere.

    Raises:
        UsageError: The runtime cannot read the file.
    """
    return OnnxSession(opened(file, threads, optimized))


def opened(model: Path | bytes, threads: int, optimized: Path | None = None) -> onnxruntime.InferenceSession:
    """The runtime's own session of a file, or of the bytes of one.

    Raises:
        UsageError: The runtime cannot read it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = ERRORS_ONLY
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    given = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has a class of its own for every status, and they share no base
        what = "the model" if isinstance(model, bytes) else repr(given)
        raise UsageError(f"{NAME} cannot read {what}: {' '.join(str(error).split())[:300]}") from error


def compute(model: bytes, given: Mapping[str, np.ndarray], threads: int = 1) -> dict[str, np.ndarray]:
    """Outputs of a model by name; inputs that it does not read are left out.

    Raises:
        UsageError: The runtime cannot read the model.
    """
    session = opened(model, threads)
    read = {one.name: given[one.name] for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, read), strict=True))


def optimised_nodes(file: Path, threads: int) -> list[Node]:
    """Every node of the graph that the runtime really computes.

    Args:
        file: The exported file.
        threads: As in ``open_file``.

    Raises:
        UsageError: The runtime cannot read the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "optimised.onnx"
        opened(file, threads, written)
        nodes = onnx.load(written).graph.node
    return [Node((node.name,), node.op_type, node.op_type in INTEGER_KERNELS) for node in nodes]
