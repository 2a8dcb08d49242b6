"""Where a file's runtime leaves the simulation: the first product behind which values are no longer the simulation's."""

from __future__ import annotations

import math

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from harness.deploy.onnx_graph import Graph, part
from harness.deploy.parity import Compute
from harness.deploy.simulated import Simulated

DEPARTED_DB = 5.0  # different rounding leaves about 10 dB behind a whole network


def departing(model: onnx.ModelProto, simulated: Simulated, compute: Compute) -> str:
    """Name the first product that departs, in words.

    Values far down the network depart more than those before them, so halving finds it.

    Args:
        model: The file's model.
        simulated: What the simulation computes for some images.
        compute: Runs a model, as in ``parity``.
    """
    graph = Graph(model)
    values = {node.name: graph.value_of(node) for node in graph.nodes if node.name in simulated.outputs}
    sites = list(values)
    first, end = 0, len(sites)
    while first < end:
        middle = (first + end) // 2
        site = sites[middle]
        if _distance(graph, values[site], simulated.outputs[site], simulated.images, compute) < DEPARTED_DB:
            end = middle
        else:
            first = middle + 1
    return f"the first operation that departs is {sites[first]}" if first < len(sites) else "no single operation departs"


def _distance(graph: Graph, value: str, expected: Tensor, images: Tensor, compute: Compute) -> float:
    """SQNR in decibel of a value that the runtime computes from images."""
    source = graph.model.graph.input[0]
    output = helper.make_tensor_value_info(value, TensorProto.FLOAT, None)
    found = compute(part(graph, [source], [output], {}), {source.name: np.ascontiguousarray(images.numpy())})[value]
    noise = float((torch.from_numpy(found.reshape(expected.shape)).double() - expected.double()).square().sum())
    signal = float(expected.double().square().sum())
    return 10 * math.log10(signal / noise) if noise > 0 and signal > 0 else math.inf
