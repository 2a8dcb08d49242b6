"""Small ONNX files: a product and its quantized form."""

import hashlib
import json

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

IMAGE = (1, 4, 4)


def write(path, *, classes=3, batch="n", image=IMAGE, quantized=False, inputs=1, kind=None):
    """A flattened product with ``classes`` logits; ``quantized`` with a pair of quantizers before it."""
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).standard_normal((int(np.prod(image)), classes)).astype(np.float32)
    tensors = [numpy_helper.from_array(weight, "w")]
    nodes = [helper.make_node("Flatten", ["x0"], ["flat"])]
    read = "flat"
    if quantized:
        tensors += [numpy_helper.from_array(np.float32(0.05), "s"), numpy_helper.from_array(np.uint8(128), "z")]
        nodes += [helper.make_node("QuantizeLinear", ["flat", "s", "z"], ["codes"])]
        nodes += [helper.make_node("DequantizeLinear", ["codes", "s", "z"], ["back"])]
        read = "back"
    nodes.append(helper.make_node("MatMul", [read, "w"], ["logits"]))
    kind = TensorProto.FLOAT if kind is None else kind
    given = [helper.make_tensor_value_info(f"x{i}", kind, [batch, *image]) for i in range(inputs)]
    out = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])]
    graph = helper.make_graph(nodes, "g", given, out, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, path)
    return path


def manifest(folder, trial, **more):
    """A manifest of ``model.onnx`` in a folder, with what ``harness latency`` reads of it."""
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    found = {"record": trial, "changes": [], "files": {"model.onnx": {"sha256": digest}}, **more}
    (folder / "manifest.json").write_text(json.dumps(found))
