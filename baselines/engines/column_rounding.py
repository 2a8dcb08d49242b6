"""Rounding of a weight column after column, the columns to come making up for it: GPTQ's engine, and GPTAQ's on top."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.quant.format.affine import Affine
from harness.quant.format.arithmetic import channel_rows


@dataclass(frozen=True)
class Asymmetry:
    """What GPTAQ adds: the inputs of the full-precision network differ from those that the quantized weight reads.

    Attributes:
        cross: ``2 (X' - X) X^T`` of full-precision inputs ``X'`` and quantized ones ``X``, ``(inputs, inputs)``, float64.
        strength: Share of the correction that is made; 1 is the minimiser.
        block: Columns of one block see the correction of a column by its value before rounding, later ones by its rounded
            value, as in the released code; 0 for one block of all columns.
    """

    cross: Tensor
    strength: float = 1.0
    block: int = 0

    def corrections(self, columns: Tensor, upper: Tensor) -> Tensor:
        """``P``: what each column's value, times its row, adds to the columns after it, in the order of rounding.

        Args:
            columns: The order.
            upper: ``U`` of the inverse Hessian ``U^T U``, in this order.
        """
        cross = self.cross[columns][:, columns]
        return self.strength * (cross @ upper.T).triu(1) @ upper

    def end_of_block(self, column: int, count: int) -> int:
        """The first column after a column's block."""
        return count if not self.block else min(count, (column // self.block + 1) * self.block)


def output_error(weight: Tensor, rounded: Tensor, hessian: Tensor) -> float:
    """``tr(dW H dW^T)``: squared error of the outputs over all calibration tokens, times two."""
    change = (weight - rounded).double()
    return float(((change @ hessian) * change).sum())


def round_columns(
    weight: Tensor,
    quantizer: Affine,
    hessian: Tensor,
    *,
    damping: float,
    order: bool,
    asymmetry: Asymmetry | None = None,
) -> Tensor:
    """GPTQ's rounding of a weight ``(outputs, inputs)`` on the grid of its quantizer.

    Args:
        weight: Full-precision weight.
        quantizer: Scale and zero point, per output channel or one.
        hessian: ``2 X^T X`` of the inputs, ``(inputs, inputs)``, float64.
        damping: Share of the mean diagonal added to the diagonal.
        order: Columns with the largest diagonal first.
        asymmetry: GPTAQ's correction; None for GPTQ.

    Returns:
        The weight with every entry on its quantizer's grid (paper, Alg. 1, without blocks: they only save memory traffic).
    """
    columns = hessian.diagonal().argsort(descending=True) if order else torch.arange(len(hessian), device=weight.device)
    damped = hessian[columns][:, columns].clone()
    dead = damped.diagonal() == 0  # inputs that are always zero
    damped.diagonal()[dead] = 1.0
    damped.diagonal().add_(damping * damped.diagonal().mean())
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    corrections = None if asymmetry is None else asymmetry.corrections(columns, inverse)
    remaining = weight[:, columns].double()
    scale, zero_point = quantizer.scale.double(), quantizer.zero_point.double()
    result = torch.empty_like(remaining)
    for column in range(len(columns)):
        values = remaining[:, column].clone()
        codes = torch.round(values / scale + zero_point).clamp(*quantizer.code_range)
        result[:, column] = (codes - zero_point) * scale
        error = (values - result[:, column]) / inverse[column, column]
        remaining[:, column + 1 :] -= error[:, None] * inverse[column, column + 1 :]
        if asymmetry is not None and corrections is not None:
            end = asymmetry.end_of_block(column, len(columns))
            remaining[:, column + 1 : end] += values[:, None] * corrections[column, column + 1 : end]
            remaining[:, end:] += result[:, column, None] * corrections[column, end:]
    restored = torch.empty_like(result)
    restored[:, columns] = result
    return restored.to(weight.dtype)


def gram(size: int, inputs: Iterable[Tensor]) -> Tensor:
    """``X^T X`` over all tokens of what an operation reads, ``(size, size)``, float64; one batch in memory."""
    total = torch.zeros(size, size, dtype=torch.float64)
    for x in inputs:
        rows = channel_rows(x, x.ndim - 1).double()
        total = total.to(rows.device).add_(rows @ rows.T)
    return total


def cross_gram(size: int, pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """``X^T X`` and ``(X' - X)^T X`` over all tokens of pairs of quantized and full-precision inputs, float64."""
    total, cross = (torch.zeros(size, size, dtype=torch.float64) for _ in range(2))
    for quantized, full in pairs:
        rows, wanted = (channel_rows(x, x.ndim - 1).double() for x in (quantized, full))
        total = total.to(rows.device).add_(rows @ rows.T)
        cross = cross.to(rows.device).add_((wanted - rows) @ rows.T)
    return total, cross
