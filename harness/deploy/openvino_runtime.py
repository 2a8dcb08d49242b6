"""OpenVINO on the CPU."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino

from harness.deploy.kernels import Node
from harness.errors import UsageError

INTEGER_PRECISIONS = ("i8", "u8")
# By default OpenVINO gives the inputs of linear operations codes of its own ("dynamic quantization", groups of 32 values).
# The file says what their codes are: with others, every product is a code off at some of its elements.
GROUP_SIZE = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
OWN_CODES = {GROUP_SIZE: 0}
OPERANDS = 2
NAMES = "originalLayersNames"
NAME = f"openvino {openvino.__version__}"


class OpenvinoSession:
    """A file in OpenVINO.

    Args:
        compiled: A compiled model with one input and one output.
    """

    version = NAME

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self.compiled = compiled

    def run(self, images: np.ndarray) -> np.ndarray:
        """Logits ``(n, classes)`` of preprocessed images ``(n, c, h, w)``."""
        return np.array(self.compiled([images])[0])


def open_file(file: Path, threads: int) -> OpenvinoSession:
    """Open a file on the CPU.

    Raises:
        UsageError: The runtime cannot read the file.
    """
    return OpenvinoSession(compiled(file, threads))


def compiled(model: Path | bytes, threads: int) -> openvino.CompiledModel:
    """The runtime's own form of a file, or of the bytes of one.

    Raises:
        UsageError: The runtime cannot read it.
    """
    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", **OWN_CODES}
    core = openvino.Core()
    try:
        read = core.read_model(io.BytesIO(model) if isinstance(model, bytes) else str(model))
        return core.compile_model(read, "CPU", options)
    except RuntimeError as error:
        what = "the model" if isinstance(model, bytes) else repr(str(model))
        raise UsageError(f"{NAME} cannot read {what}: {' '.join(str(error).split())[:300]}") from error


def compute(model: bytes, given: Mapping[str, np.ndarray], threads: int = 1) -> dict[str, np.ndarray]:
    """Outputs of a model by name; inputs that it does not read are left out.

    Raises:
        UsageError: The runtime cannot read the model.
    """
    ready = compiled(model, threads)
    names = [one.any_name for one in ready.outputs]
    found = ready({one.any_name: given[one.any_name] for one in ready.inputs})
    return {name: np.array(found[name]) for name in names}


def optimised_nodes(file: Path, threads: int) -> list[Node]:
    """Every node of the graph that the runtime really computes.

    Args:
        file: The exported file.
        threads: As in ``open_file``.

    Raises:
        UsageError: The runtime cannot read the file.
    """
    found = []
    for node in compiled(file, threads).get_runtime_model().get_ops():
        facts = {name: node.get_rt_info()[name].astype(str) for name in ("layerType", "runtimePrecision", NAMES)}
        names = tuple(facts[NAMES].split(","))
        integer = facts["runtimePrecision"] in INTEGER_PRECISIONS and _reads_codes(node)
        found.append(Node(names, f"{facts['layerType']} {facts['runtimePrecision']}", integer))
    return found


def _reads_codes(node: openvino.Node) -> bool:
    """Whether both operands are codes: a float times codes of a weight is reported as int8 and runs in floating point."""
    return all(one.get_element_type().get_type_name() in INTEGER_PRECISIONS for one in node.inputs()[:OPERANDS])


def convert(source: Path, target: Path) -> None:
    """Write an ONNX file as OpenVINO's own: ``target`` and its ``.bin`` beside it, weights as they are.

    The file itself asks for its codes to be kept, so that it computes the same wherever it is opened.
    """
    model = openvino.Core().read_model(str(source))
    for name, value in OWN_CODES.items():
        model.set_rt_info(str(value), ["runtime_options", name])
    openvino.save_model(model, str(target), compress_to_fp16=False)
