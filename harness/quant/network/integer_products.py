"""Products of integer codes with exact sums: pure functions of tensors.

Exact sums do not depend on the order in which they are added, so not on batch, threads or library either. Three ways give
them: ``int8`` products accumulated in ``int32``, integer-valued ``float32`` while sums stay below 2^24, ``float64`` below
2^53. Which one runs changes how long it takes, never a bit.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from harness.quant.format.arithmetic import BLOCK

EXACT_FLOAT = 2**24  # integers up to here are float32 numbers, and so are their sums while they stay below
LEAST_ROWS = 64
EXACT_INT = 2**31
LEAST_DEPTH = 32  # shorter parts of a sum cost more than float64 does
BYTE_PRODUCT = 2**14  # of the two most negative signed bytes
CUDA_ROWS, CUDA_MULTIPLE = 17, 8  # what cuBLASLt's integer product asks for


def int_matmul(a: Tensor, b: Tensor) -> Tensor:
    """``a b`` exactly.

    Args:
        a: ``(m, k)``, int8.
        b: ``(k, n)``, int8, at most 131,071 deep.

    Returns:
        ``(m, n)``, int32.
    """
    if a.is_cuda:
        return _cuda_matmul(a, b)
    return torch._int_mm(a, b) if int_kernel() else float_int_matmul(a, b)


def int_kernel() -> bool:
    """Whether oneDNN multiplies bytes exactly here; without it torch has a plain loop only, slower than floats."""
    return torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled) and _int_mm_is_exact()


def block_rows(x: Tensor, width: int) -> int:
    """How many rows of the widest matrix of a product are computed together; all of them on a GPU.

    Several passes go over each block, and find it in the cache.
    """
    return x.numel() if x.is_cuda else max(LEAST_ROWS, BLOCK * torch.get_num_threads() // width)


def float_int_matmul(a: Tensor, b: Tensor) -> Tensor:
    """``int_matmul`` by integer-valued float32 products, in parts that stay exact: where there is no integer kernel."""
    deepest = EXACT_FLOAT // BYTE_PRODUCT
    total = torch.zeros(len(a), b.shape[1], dtype=torch.int32, device=a.device)
    for start in range(0, a.shape[1], deepest):
        part = slice(start, start + deepest)
        total += (a[:, part].float() @ b[part].float()).to(torch.int32)
    return total


@cache
def _int_mm_is_exact() -> bool:
    """Whether this processor's kernel adds extreme codes without saturation (without VNNI instructions some do not)."""
    ends = torch.tensor([-128, 127], dtype=torch.int8)
    left, right = ends.repeat_interleave(32), ends.repeat(32)
    a, b = torch.stack([left, right, left.flip(0)] * 8), torch.stack([left, right, right.flip(0)] * 8, dim=1)
    return torch.equal(torch._int_mm(a, b), float_int_matmul(a, b))


def _cuda_matmul(a: Tensor, b: Tensor) -> Tensor:
    """By cuBLASLt, which takes more than 16 rows and multiples of eight: zeros are added and cut off."""
    (m, k), n = a.shape, b.shape[1]
    more = -k % CUDA_MULTIPLE
    rows, columns = max(CUDA_ROWS, m) - m, -n % CUDA_MULTIPLE
    a = torch.nn.functional.pad(a, (0, more, 0, rows)) if more or rows else a.contiguous()
    b = torch.nn.functional.pad(b, (0, columns, 0, more)) if more or columns else b
    return torch._int_mm(a, b)[:m, :n]


def matmul(a: Tensor, b: Tensor, reach: int) -> Tensor:
    """``a b`` of integer-valued float32 tensors exactly, rounded to float32 once.

    Args:
        a: ``(..., m, k)``.
        b: ``(..., k, n)``.
        reach: Bound of one product's absolute value.

    Returns:
        ``(..., m, n)``, float32.
    """
    depth = a.shape[-1]
    if depth * reach < EXACT_FLOAT:
        return a @ b
    deepest = (EXACT_FLOAT - 1) // reach
    if deepest < LEAST_DEPTH or depth * reach >= EXACT_INT:
        return (a.double() @ b.double()).float()
    parts = (slice(start, start + deepest) for start in range(0, depth, deepest))
    return sum((a[..., part] @ b[..., part, :]).to(torch.int32) for part in parts).to(torch.float32)  # type: ignore[union-attr]


def sum_type(depth: int, reach: int) -> torch.dtype:
    """The type that holds sums of so many products: int32, or int64 where they can leave it.

    Args:
        depth: Number of products in a sum.
        reach: Bound of one product's absolute value after zero points are taken off.
    """
    return torch.int32 if depth * max(reach, BYTE_PRODUCT) < EXACT_INT else torch.int64


def deep_int_matmul(a: Tensor, b: Tensor, reach: int) -> Tensor:
    """``a b`` of int8 tensors exactly, in the type that ``sum_type`` says.

    Args:
        a: ``(m, k)``.
        b: ``(k, n)``.
        reach: As in ``sum_type``.
    """
    depth = a.shape[1]
    if sum_type(depth, reach) == torch.int32:
        return int_matmul(a, b)
    total = torch.zeros(len(a), b.shape[1], dtype=torch.int64, device=a.device)
    deepest = EXACT_INT // BYTE_PRODUCT - 1
    for start in range(0, depth, deepest):
        part = slice(start, start + deepest)
        total += int_matmul(a[:, part].contiguous(), b[part].contiguous())
    return total
