"""What an ONNX file reads, from the file alone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import uses_external_data

from harness.errors import UsageError
from harness.store.reading import reason_of

MOST_BYTES = 2**31 - 1  # no ONNX file without data beside it is larger
IMAGE_AXES = 4


class Input(NamedTuple):
    """The images that a file reads.

    Attributes:
        batch: How many at once; None for any number.
        image: Channels, height, width.
    """

    batch: int | None
    image: tuple[int, ...]


def input_of(path: Path) -> Input:
    """The one input of a file.

    Raises:
        UsageError: It is no ONNX file, or does not read one batch of float32 images of a fixed size.
    """
    model = _read(path)
    weights = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in weights]
    kind = inputs[0].type.tensor_type if len(inputs) == 1 else None
    sizes = [axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim] if kind is not None else []
    image = tuple(size for size in sizes[1:] if size is not None and size > 0)
    if kind is None or kind.elem_type != onnx.TensorProto.FLOAT or len(sizes) != IMAGE_AXES or len(image) != IMAGE_AXES - 1:
        raise UsageError(
            f"{str(path)!r} reads {len(inputs)} inputs, of sizes {sizes}: "
            "expected one batch of float32 images of a fixed size"
        )
    return Input(sizes[0], image)


def _read(path: Path) -> onnx.ModelProto:
    try:
        size = path.stat().st_size
        if not path.is_file() or size > MOST_BYTES:
            raise UsageError(f"{str(path)!r} is no ONNX file: expected a file of at most {MOST_BYTES:,} bytes")
        model: onnx.ModelProto = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be read: {reason_of(error)}") from error
    except DecodeError as error:
        raise UsageError(f"{str(path)!r} is no ONNX file: {error}") from error
    if not model.graph.output:
        raise UsageError(f"{str(path)!r} is no ONNX file with a graph")
    if any(uses_external_data(one) for one in model.graph.initializer):
        raise UsageError(f"{str(path)!r} has its weights in another file", "expected all of it in one file")
    return model
