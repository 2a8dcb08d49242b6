"""Reading an ONNX graph: who computes a value, which quantizers a product reads, what a part of it is."""

from __future__ import annotations

from collections import defaultdict

import onnx

from harness.deploy.names import CODES, VALUE

MOVING = frozenset(
    {"Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Split", "Gather", "Flatten", "Expand", "Identity", "MaxPool"}
)
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


class Graph:
    """An ONNX graph with its edges.

    Args:
        model: The model; it must not change meanwhile.

    Attributes:
        nodes: All nodes by name of their first output.
        producers: Node by each value that it computes.
        readers: Nodes by each value that they read.
        initializers: Stored tensors by name.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.producers = {value: node for node in self.nodes for value in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for value in node.input:
                self.readers[value].append(node)
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}

    def dequantized(self, value: str) -> onnx.NodeProto | None:
        """The DequantizeLinear that a value comes from, looking back through what only moves values; None for none."""
        node = self.producers.get(value)
        while node is not None and node.op_type in MOVING:
            node = self.producers.get(node.input[0])
        return node if node is not None and node.op_type == DEQUANTIZE else None

    def has_integer_operands(self, product: onnx.NodeProto) -> bool:
        """Whether both operands of a product are codes times a scale."""
        return all(self.dequantized(value) is not None for value in product.input[:2])

    def value_of(self, product: onnx.NodeProto) -> str:
        """What a product yields, its bias included."""
        named = f"{product.name}{VALUE}"
        return named if named in self.producers else self.model.graph.output[0].name  # the last one keeps its name

    def output_of(self, product: onnx.NodeProto) -> str:
        """The value of a product that is compared: the codes right behind it, else the value with its bias."""
        value = self.value_of(product)
        codes = [node.output[0] for node in self.readers[value] if node.op_type == QUANTIZE]
        return codes[0] if len(codes) == 1 and len(self.readers[value]) == 1 and codes[0].endswith(CODES) else value


def part(graph: Graph, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], fed: dict[str, str]) -> bytes:
    """A model of a part of a graph.

    Args:
        graph: The graph.
        inputs: What the part reads.
        outputs: What it yields.
        fed: Values that are read as inputs of the part: value by the name that it has among the inputs.
    """
    renamed = {value: name for name, value in fed.items()}
    nodes = []
    for node in _reading(graph, [one.name for one in outputs], set(renamed)):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for index, value in enumerate(copy.input):
            copy.input[index] = renamed.get(value, value)
        nodes.append(copy)
    read = {value for node in nodes for value in node.input}
    tensors = [tensor for name, tensor in graph.initializers.items() if name in read]
    used = [one for one in inputs if one.name in read]
    made = onnx.helper.make_graph(nodes, "part", used, outputs, tensors)
    model = onnx.helper.make_model(made, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)
    return bytes(model.SerializeToString())


def _reading(graph: Graph, outputs: list[str], fed: set[str]) -> list[onnx.NodeProto]:
    """The nodes that compute some values from what is fed."""
    wanted, kept = set(outputs), []
    for node in reversed(graph.nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= {value for value in node.input if value not in fed}
    return kept[::-1]
