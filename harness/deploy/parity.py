"""Every product of an exported file against the simulation, fed equal codes: do both compute the same operation?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from harness.deploy.names import CODES
from harness.deploy.onnx_graph import QUANTIZE, Graph, part
from harness.deploy.simulated import Simulated

LEVELS = 255  # where nothing quantizes an output, its own range is divided into this many steps
FED = "/fed"
Compute = Callable[[bytes, Mapping[str, np.ndarray]], dict[str, np.ndarray]]


class Parity(NamedTuple):
    """One product.

    Attributes:
        site: The value site behind it.
        farthest: Largest distance of two codes.
        differing: Share of the elements whose codes differ.
        elements: Number of elements compared.
    """

    site: str
    farthest: int
    differing: float
    elements: int


def parity(model: onnx.ModelProto, simulated: Simulated, compute: Compute) -> list[Parity]:
    """Compare every product whose operands are both codes.

    Args:
        model: The file's model.
        simulated: What the simulation computes for some images.
        compute: Runs a model: its bytes and inputs by name give outputs by name.

    Returns:
        One row a product, in execution order.
    """
    graph = Graph(model)
    fed = _fed(graph, simulated)
    compared = {
        node.name: graph.output_of(node)
        for node in graph.nodes
        if node.name in simulated.outputs and graph.has_integer_operands(node)
    }
    given = {name: simulated.codes[value.removesuffix(CODES)].numpy() for name, value in fed.items()}
    inputs = [helper.make_tensor_value_info(name, TensorProto.UINT8, codes.shape) for name, codes in given.items()]
    images = model.graph.input[0]  # read where a shape is asked for
    inputs.append(images)
    given[images.name] = np.ascontiguousarray(simulated.images.numpy())
    outputs = [_info(value) for value in compared.values()]
    if not compared:
        return []
    found = compute(part(graph, inputs, outputs, fed), given)
    return [_compared(site, found[value], simulated, coded=value.endswith(CODES)) for site, value in compared.items()]


def _fed(graph: Graph, simulated: Simulated) -> dict[str, str]:
    """Values that quantizers of known sites yield, by the name under which they are fed."""
    values = [node.output[0] for node in graph.nodes if node.op_type == QUANTIZE]
    return {f"{value}{FED}": value for value in values if value.removesuffix(CODES) in simulated.codes}


def _info(value: str) -> onnx.ValueInfoProto:
    kind = TensorProto.UINT8 if value.endswith(CODES) else TensorProto.FLOAT
    return helper.make_tensor_value_info(value, kind, None)


def _compared(site: str, found: np.ndarray, simulated: Simulated, *, coded: bool) -> Parity:
    expected = simulated.outputs[site]
    found = found.reshape(expected.shape)  # reshapes behind an operation may have become one with it
    if coded:
        codes = simulated.coded(site, expected)
        assert codes is not None
        ours, theirs = codes.numpy().astype(int), found.astype(int)
    else:
        step = max(float(expected.max() - expected.min()) / LEVELS, float(np.finfo(np.float32).tiny))
        ours = np.round(expected.numpy().astype(np.float64) / step).astype(int)
        theirs = np.round(found.astype(np.float64) / step).astype(int)
    distance = np.abs(ours - theirs)
    return Parity(site, int(distance.max()), float((distance > 0).mean()), distance.size)
