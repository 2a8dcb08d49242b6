"""Per-image results: ``correct.npy`` holds one bit per evaluation image, quantized and full precision."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from harness.errors import UsageError
from harness.store.reading import contents, reason_of
from harness.trial.record import Record

ROWS = 2  # quantized, full precision
HEADER_BYTES = 1024  # numpy's own is 128


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
    try:
        file = io.BytesIO(data)
        npy.read_magic(file)
        found, column_first, dtype = npy.read_array_header_1_0(file, max_header_size=HEADER_BYTES)
    except (ValueError, TypeError, SyntaxError, EOFError, RecursionError, MemoryError, OverflowError) as error:
        raise BitmapError(f"not readable as an array: {str(error).splitlines()[0] if str(error) else 'empty'}") from error
    if found != shape or dtype != np.uint8 or column_first:
        raise BitmapError(f"holds {dtype} of shape {found}, expected uint8 of shape {shape} for {images:,} images")
    bits = np.frombuffer(data, np.uint8, offset=file.tell())
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
    counts = correct.sum(axis=1).tolist()
    expected = [metrics["n_correct"], metrics.get("n_correct_fp32", counts[-1])]
    if counts != expected:
        raise BitmapError(f"counts {counts} right images, the record {expected}")
