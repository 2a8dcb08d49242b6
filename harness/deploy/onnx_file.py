"""A network with explicit quantizers as an ONNX file."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from harness.errors import CaptureError

OPSET = 21  # the first with 4-bit integers
INPUT, OUTPUT = "images", "logits"


def write_onnx(network: nn.Module, input_size: tuple[int, int, int], path: Path) -> None:
    """Export a network with a free number of images.

    Args:
        network: As ``network.deployed`` makes it.
        input_size: ``(c, h, w)``.
        path: The file.

    Raises:
        CaptureError: torch cannot export it.
    """
    images = torch.zeros(2, *input_size)
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many unrelated types
        first = str(error).strip().split("\n")[0][:300]
        raise CaptureError(f"torch cannot export the network to ONNX: {type(error).__name__}: {first}") from error
    assert program is not None
    program.save(path, external_data=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of itself."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
