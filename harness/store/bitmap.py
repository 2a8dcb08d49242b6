"""Per-image results: ``correct.npy`` holds one bit per evaluation image, quantized and full precision."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from harness.errors import UsageError
from harness.store.reading import contents, reason_of
from harness.trial.record import Record, task_of

ROWS = 2  # quantized, full precision
HEADER_BYTES = 1024  # numpy's own is 128
# What numpy writes before the bytes. Its own reader evaluates the text and fails in many ways where that was tampered with.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '\|u1', 'fortran_order': False, "
    rb"'shape': \((?P<rows>\d{1,9}), (?P<columns>\d{1,18})\), \} *\n",
    re.DOTALL,
)


class BitmapError(UsageError):
    """Per-image results that do not fit their record."""


def packed(correct: np.ndarray) -> bytes:
    """The file of per-image correctness.

    Args:
        correct: Boolean ``(2, n)``.
    """
    target = io.BytesIO()
    np.save(target, np.packbits(correct, axis=1), allow_pickle=False)
    return target.getvalue()


def unpacked(data: bytes, images: int) -> np.ndarray:
    """The inverse of ``packed``; nothing is unpickled, and nothing larger than ``data`` is allocated before it is checked.

    Args:
        data: Content of the file.
        images: Number of evaluation images, as the record says.

    Raises:
        BitmapError: It is no such file, or one of another number of images.
    """
    shape = (ROWS, -(-images // 8))
    header = _HEADER.match(data)
    if header is None:
        raise BitmapError(f"is no array of bytes in {ROWS} rows, as numpy saves them")
    found = int(header["rows"]), int(header["columns"])
    if found != shape:
        raise BitmapError(f"has the shape {found}, expected {shape} for {images:,} images")
    bits = np.frombuffer(data, np.uint8, offset=header.end())
    if bits.size != ROWS * shape[1]:
        raise BitmapError(f"holds {bits.size:,} bytes of results, expected {ROWS * shape[1]:,}")
    return np.unpackbits(bits.reshape(shape), axis=1, count=images).astype(bool)


def read_bitmap(path: Path, images: int) -> np.ndarray:
    """Per-image correctness from a file, boolean ``(2, n)``.

    Raises:
        BitmapError: It cannot be read, or does not fit the number of images.
    """
    try:
        data = contents(path, HEADER_BYTES + ROWS * (-(-images // 8)))
    except OSError as error:
        raise BitmapError(f"not readable: {reason_of(error)}") from error
    return unpacked(data, images)


def check_counts(correct: np.ndarray, record: Record) -> None:
    """Refuse per-image results that count other right images than the record does.

    Raises:
        BitmapError: With both counts.
    """
    metrics = record["metrics"]
    if "n_correct" not in metrics:
        raise BitmapError(f"the task {task_of(record)} has no right images to count")
    counts = correct.sum(axis=1).tolist()
    expected = [metrics["n_correct"], metrics.get("n_correct_fp32", counts[-1])]
    if counts != expected:
        raise BitmapError(f"counts {counts} right images, the record {expected}")
