"""ERQ's closed forms: ridge regressions for activation errors and for roundings, half by half (Zhong et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from harness.quant.format.affine import Affine

Refinement = Literal["released", "exact"]


@dataclass(frozen=True)
class Moments:
    """What the closed forms need of a layer's inputs and outputs, in float64; the last column of the inputs is one.

    Attributes:
        gram: ``A^T A``, ``(inputs + 1, inputs + 1)``.
        cross: ``A^T Y`` of the inputs and what the layer should give, ``(inputs + 1, outputs)``.
    """

    gram: Tensor
    cross: Tensor

    @classmethod
    def of(cls, batches: Iterable[tuple[Tensor, Tensor]]) -> Moments:
        """The sum over batches of inputs ``(tokens, inputs)`` and wanted outputs ``(tokens, outputs)``."""
        gram = cross = torch.zeros(())
        for inputs, wanted in batches:
            a = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1).double()
            gram = gram.to(a) + a.T @ a
            cross = cross.to(a) + a.T @ wanted.double()
        return cls(gram, cross)

    @property
    def tokens(self) -> float:
        """How many rows there were."""
        return float(self.gram[-1, -1])

    def spread(self, columns: slice) -> Tensor:
        """``mean mean^T + covariance`` of some inputs: by it rounding refinement weighs errors."""
        mean = self.gram[columns, -1] / self.tokens
        outer = mean[:, None] * mean
        covariance = (self.gram[columns, columns] - self.tokens * outer) / max(self.tokens - 1, 1)
        spread: Tensor = outer + covariance
        return spread


def ridge_update(moments: Moments, weight: Tensor, ridge: float) -> Tensor:
    """The change of ``(outputs, inputs + 1)`` that lowers the output error: ``(A^T A + lambda I)^-1 A^T E`` (Eq. 6).

    Args:
        moments: Of the quantized inputs and the wanted outputs.
        weight: Present weight with the bias as its last column.
        ridge: Regulariser, of the bias too, as released.
    """
    missing = moments.cross - moments.gram @ weight.T
    regularised = moments.gram + ridge * torch.eye(len(moments.gram), dtype=torch.float64, device=missing.device)
    solved: Tensor = torch.linalg.solve(regularised, missing)
    return solved.T


def round_halves(
    weight: Tensor, quantizer: Affine, moments: Moments, ridge: float, refinement: Refinement, refinements: int
) -> tuple[Tensor, Tensor]:
    """Round the first half of the columns, let the others and the bias make up for it, go on with those (Sec. 3.3).

    Args:
        weight: ``(outputs, inputs + 1)``, the bias last.
        quantizer: Of the weight without the bias.
        moments: Of the quantized inputs.
        ridge: Regulariser.
        refinement: How single roundings are flipped.
        refinements: Steps of that for each half, at most.

    Returns:
        The weight on its quantizer's grid, float64, and the new bias.
    """
    current, done = weight.clone(), 0
    refine = _refined if refinement == "released" else _refined_exactly
    while (left := current.shape[1] - done) > 1:
        half, rest = slice(done, done + left // 2), slice(done + left // 2, None)
        change = refine(current[:, half], quantizer, moments.spread(half), refinements)
        gram = moments.gram[rest, rest].clone()
        gram.diagonal().add_(ridge)
        current[:, rest] -= torch.linalg.solve(gram, moments.gram[rest, half] @ change.T).T
        current[:, half] += change
        done = rest.start
    return current[:, :-1], current[:, -1]


def _neighbours(values: Tensor, quantizer: Affine) -> tuple[Tensor, Tensor, Tensor]:
    """Errors of rounding to the nearest, to the lower and to the upper code."""
    scale, zero_point = (one.double().reshape(-1, 1) for one in (quantizer.scale, quantizer.zero_point))
    low, high = quantizer.code_range
    position = values / scale
    rounded = (position.round(), position.floor(), position.ceil())
    nearest, lower, upper = (((one + zero_point).clamp(low, high) - zero_point) * scale - values for one in rounded)
    return nearest, lower, upper


def _refined(values: Tensor, quantizer: Affine, spread: Tensor, refinements: int) -> Tensor:
    """The release's refinement: per step and output the error with the largest gradient of its own sign is flipped.

    Returns:
        What is added to the values: their rounding errors.
    """
    error, lower, upper = _neighbours(values, quantizer)
    for _ in range(refinements):
        gradient = 2 * error @ spread
        towards = torch.where(error * gradient > 0, gradient, 0.0)
        chosen = towards.abs().argmax(dim=1, keepdim=True)
        old, low, high = (one.gather(1, chosen) for one in (error, lower, upper))
        goal = old - towards.gather(1, chosen)
        new = torch.where((goal - high).abs() <= (goal - low).abs(), high, low)
        step = new - old
        rise = step * gradient.gather(1, chosen) + step.square() * spread.diagonal()[chosen]
        flipped = (rise <= 0) & (step != 0)
        if not flipped.any():
            break
        error = error.scatter(1, chosen, torch.where(flipped, new, old))
    return error


def _refined_exactly(values: Tensor, quantizer: Affine, spread: Tensor, refinements: int) -> Tensor:
    """Ours: per step and output the flip that lowers ``e S e^T`` most; what is added to the values."""
    error, lower, upper = _neighbours(values, quantizer)
    for _ in range(refinements):
        other = torch.where((error - lower).abs() <= (error - upper).abs(), upper, lower)
        step = other - error
        rise = 2 * (error @ spread) * step + spread.diagonal() * step.square()
        best = rise.argmin(dim=1, keepdim=True)
        better = rise.gather(1, best) < -1e-12
        if not better.any():
            break
        error = torch.where(better, error.scatter(1, best, other.gather(1, best)), error)
    return error
