"""Orthogonal matrices that spread what stands in one channel over many: Hadamard matrices, blocks of them, random ones."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Form = Literal["hadamard", "block", "random"]


def orthogonal(form: Form, size: int, block: int, generator: torch.Generator) -> Tensor:
    """An orthogonal matrix ``(size, size)``, float64; ``x @ matrix`` turns rows of channels.

    Args:
        form: ``hadamard``: signs drawn for each channel, then a Hadamard matrix, where one of this size is known, else
            blocks. ``block``: the same with blocks of ``block`` channels on the diagonal. ``random``: drawn uniformly from
            all orthogonal matrices.
        size: Number of channels.
        block: Largest size of a block.
        generator: Of signs and random matrices.
    """
    if form == "random":
        return _random(size, generator)
    signs = torch.randint(0, 2, (size,), generator=generator).double() * 2 - 1
    whole = hadamard(size) if form == "hadamard" else None
    width = size if whole is not None else _block_size(size, block if form == "block" else size)
    matrix = hadamard(width) if whole is None else whole
    assert matrix is not None  # blocks have sizes that are powers of two
    spread: Tensor = torch.block_diag(*[matrix / width**0.5] * (size // width))
    return signs[:, None] * spread


def hadamard(size: int) -> Tensor | None:
    """A Hadamard matrix (entries 1 and -1, orthogonal rows), or None where this construction has none of the size.

    Sylvester's doubling from 1, or from ``q + 1`` for a prime ``q = 3 mod 4`` (Paley's first construction).
    """
    odd, doublings = size, 0
    while odd % 2 == 0:
        odd, doublings = odd // 2, doublings + 1
    for halves in range(doublings + 1):
        start = odd * 2**halves
        if start == 1 or (start % 4 == 0 and _is_prime(start - 1)):
            matrix = torch.ones(1, 1, dtype=torch.float64) if start == 1 else _paley(start - 1)
            two = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
            for _ in range(doublings - halves):
                matrix = torch.kron(two, matrix)
            return matrix
    return None


def keeping_means(matrix: Tensor) -> Tensor:
    """The nearest relative of an orthogonal matrix that leaves the mean of every row of channels what it is.

    A reflection takes the matrix's image of equal channels back to equal channels: what is turned with the result has the
    same mean and the same variance, so a LayerNorm gives the same, turned.
    """
    ones = matrix.new_ones(len(matrix))
    away = matrix @ ones - ones
    if away.norm() < 1e-9:
        return matrix
    away = away / away.norm()
    reflected: Tensor = matrix - 2 * away[:, None] * (away @ matrix)
    return reflected


def _block_size(size: int, most: int) -> int:
    """The largest power of two that divides the size and is not above ``most``."""
    width = 1
    while size % (2 * width) == 0 and 2 * width <= most:
        width *= 2
    return width


def _paley(prime: int) -> Tensor:
    """``I + S`` of size ``prime + 1`` with the skew matrix of quadratic residues."""
    residues = {value * value % prime for value in range(1, prime)}
    character = torch.tensor([0.0, *(1.0 if value in residues else -1.0 for value in range(1, prime))], dtype=torch.float64)
    numbers = torch.arange(prime)
    skew = torch.zeros(prime + 1, prime + 1, dtype=torch.float64)
    skew[0, 1:], skew[1:, 0] = 1, -1
    skew[1:, 1:] = character[(numbers[:, None] - numbers) % prime]
    return skew + torch.eye(prime + 1, dtype=torch.float64)


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def _random(size: int, generator: torch.Generator) -> Tensor:
    """QR of a Gaussian matrix; signs that make it uniform (Mezzadri 2007)."""
    q, r = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))
    uniform: Tensor = q * r.diagonal().sign()
    return uniform
