"""How close an operation's output is to full precision: correlation, and the order of attention's scores.

Both are those of Liu et al., "Post-Training Quantization for Vision Transformer", NeurIPS 2021 (Eq. 11 and 13).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Pairs = Literal["sum", "mean"]
CHUNK = 2**17  # scores at a time: what is added up stays in the cache
EPSILON = 1e-14  # of a squared mean: rounding of sums in double precision


def pearson(want: Tensor, got: Tensor) -> Tensor:
    """Pearson's correlation over the last axis, in double precision; 0 where either is constant.

    Args:
        want: ``(..., m)``.
        got: The same shape.
    """
    a, b, count = want.double(), got.double(), want.shape[-1]
    means = a.mean(dim=-1), b.mean(dim=-1)
    covariance = torch.linalg.vecdot(a, b) / count - means[0] * means[1]
    variances = [torch.linalg.vecdot(x, x) / count - mean.square() for x, mean in zip((a, b), means, strict=True)]
    # What rounding leaves of the variance of a constant is no spread.
    spread = torch.stack([variance > EPSILON * mean.square() for variance, mean in zip(variances, means, strict=True)])
    found = covariance / (variances[0] * variances[1]).clamp(min=torch.finfo(torch.float64).tiny).sqrt()
    return torch.where(spread.all(dim=0), found, torch.zeros_like(found))


@dataclass(frozen=True)
class Ranking:
    """The hinge loss of pairs of attention scores that a candidate brings out of order, or closer than a margin.

    Attributes:
        weight: What it counts beside the correlation.
        margin: Of raw products of queries and keys, before they are scaled.
        pairs: ``sum`` over an image's pairs (the paper), or their mean.
    """

    weight: float
    margin: float
    pairs: Pairs


class RankedRows:
    """Scores of full precision, in whose order those of candidates are compared.

    With the columns of a row sorted, the earlier of two is the larger one in full precision: pairs at a distance ``k`` are
    then two slices, and no sign is needed. Equal scores have no order; the loss of such a pair is the margin.

    Args:
        scores: ``(images, heads, rows, columns)`` in full precision, as the network computes them.
        factor: What the network multiplies products of queries and keys with before or within this one.
        ranking: The loss.
    """

    def __init__(self, scores: Tensor, factor: float, ranking: Ranking) -> None:
        self._factor = factor
        self._margin = ranking.margin * factor  # (margin - p / factor)+ is (margin * factor - p)+ / factor
        self._weight = ranking.weight
        ordered, self._order = scores.sort(dim=-1, descending=True)
        self._ties = list(_ties(_columns_first(ordered)))
        columns = scores.shape[-1]
        pairs = scores[0].numel() // columns * (columns * (columns - 1) // 2)
        self._count = len(scores) * (pairs if ranking.pairs == "mean" else 1)

    def loss(self, scores: Tensor) -> float:
        """The weighted loss of a candidate's scores, the mean over images."""
        if scores.shape[-1] == 1:
            return 0.0
        x = _columns_first(scores.gather(-1, self._order))
        total = sum(self._of_rows(rows) for rows in x.split(max(1, CHUNK // len(x)), dim=1))
        total += sum(self._of_ties(x, distance, tied) for distance, tied in enumerate(self._ties, start=1))
        return self._weight * total / (self._count * self._factor)

    def _of_rows(self, x: Tensor) -> float:
        """``x`` is ``(columns, rows)``, columns in the order of full precision."""
        least = x - self._margin
        sums = [(x[distance:] - least[:-distance]).clamp_(min=0).sum() for distance in range(1, len(x))]
        return float(torch.stack(sums).sum(dtype=torch.float64))

    def _of_ties(self, x: Tensor, distance: int, tied: Tensor) -> float:
        """What pairs without an order have more than was counted."""
        counted = (x[distance:] - (x[:-distance] - self._margin)).clamp_(min=0)[tied]
        return float((self._margin - counted.double()).sum())


def _columns_first(x: Tensor) -> Tensor:
    """``(columns, everything else)``: slices of columns lie next to each other in memory."""
    return x.movedim(-1, 0).reshape(x.shape[-1], -1).contiguous()


def _ties(x: Tensor) -> Iterator[Tensor]:
    """Which neighbours at distance 1, 2, ... of sorted columns are equal, until none are."""
    for distance in range(1, len(x)):
        tied = x[distance:] == x[:-distance]
        if not tied.any():
            return
        yield tied
