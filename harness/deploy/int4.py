"""Weights of four bits in an ONNX file: two codes per byte instead of one."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper


def store_int4(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Store codes as INT4, with their zero points.

    Args:
        model: Changed.
        names: Initializers with int8 codes of -8..7 that only DequantizeLinear reads.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in names:
            continue
        _pack(tensors[node.input[0]])
        zero_point = tensors[node.input[2]]
        if zero_point.data_type != TensorProto.INT4:
            copy = TensorProto()
            copy.CopyFrom(zero_point)
            copy.name = f"{node.input[0]}.zero_point"
            _pack(copy)
            model.graph.initializer.append(copy)
            node.input[2] = copy.name


def _pack(tensor: TensorProto) -> None:
    codes = numpy_helper.to_array(tensor).astype(np.uint8).flatten() & 0xF
    padded = np.concatenate([codes, np.zeros(len(codes) % 2, np.uint8)])
    packed = (padded[0::2] | (padded[1::2] << 4)).astype(np.uint8)
    tensor.data_type = TensorProto.INT4
    for field in ("int32_data",):
        tensor.ClearField(field)
    tensor.raw_data = packed.tobytes()
