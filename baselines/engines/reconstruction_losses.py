"""What a reconstructed output is compared by: squared error, plain or weighted by estimates of the Fisher information."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.engines.layerwise import Visit
from harness.machine.memory import Budget, Kept
from harness.quant.network.qmodel import QuantizedModel

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # output, target, numbers of the images; a scalar


def mse(output: Tensor, target: Tensor, images: Tensor) -> Tensor:
    """Squared error, as BRECQ's code computes it."""
    return _mean((output - target).square())


def _mean(error: Tensor) -> Tensor:
    """Sum over everything but images and positions, mean over these: what BRECQ's code calls the L2 loss."""
    channel = 1 if error.ndim == 4 else error.ndim - 1
    summed: Tensor = error.sum(dim=channel)
    return summed.mean()


def fisher(gradients: Kept) -> Loss:
    """Squared error weighted by the squared gradients of the prediction (BRECQ, Eq. 10), whose mean is made one.

    Args:
        gradients: Of the segment's output, batch by batch.
    """
    squares = torch.cat(list(gradients)).square()  # of all images together: sums of batches would round otherwise
    factor = len(squares) / squares.sum().clamp_min(1e-30) * squares[0].numel()  # mean one: rate and regulariser stay

    def loss(output: Tensor, target: Tensor, images: Tensor) -> Tensor:
        return _mean((output - target).square() * (gradients.select(images).square() * factor))

    return loss


class PredictionGradients:
    """Gradients of KL(prediction of the network quantized up to a segment, full precision) by the segment's output.

    Args:
        model: The network.
        batches: Images.
        budget: Holds the full-precision predictions.
    """

    def __init__(self, model: QuantizedModel, batches: Sequence[Tensor], budget: Budget) -> None:
        self.model = model
        self.batches = batches
        self.budget = budget

    def at(self, visit: Visit) -> Iterator[Tensor]:
        """The gradients at a segment in its present state, batch by batch; segments after it run in full precision."""
        after = visit.index + 1
        for prediction, x in zip(self._predictions, visit.quantized, strict=True):
            with torch.no_grad():
                leaf = self.model.run(x, visit.index, after)
            with torch.enable_grad():
                leaf = leaf.clone().requires_grad_(True)
                last = after == len(self.model.segments)
                logits = F.log_softmax(leaf if last else self.model.run_full_precision(leaf, after), dim=1)
                F.kl_div(logits, prediction, reduction="sum", log_target=True).backward()
            assert leaf.grad is not None
            yield leaf.grad

    @cached_property
    def _predictions(self) -> Kept:
        """Logarithmic class probabilities in full precision, batch by batch."""
        with torch.no_grad():
            return self.budget.keep(F.log_softmax(self.model.run_full_precision(x), dim=1) for x in self.batches)


class Fima:
    """FIMA-Q's loss: diagonal plus rank-k estimate of the Fisher information, each divided by its first value.

    Diagonal: ``dz^2 mean|g|``. Low rank: with k pairs ``G = mean|g|`` and ``D = mean|dz|``, ``a = |dz| G^T``, the loss is
    ``a (D D^T)^-1 a^T`` (Wu et al., CVPR 2025). The pairs are renewed at equal distances while learning.

    Args:
        measure: The pair ``(mean|g|, mean|dz|)`` over images of the segment in its present state, each shaped like the
            output of one image.
        rank: Number of pairs, k.
        every: Steps from one pair to the next.
    """

    def __init__(self, measure: Callable[[], tuple[Tensor, Tensor]], rank: int, every: int) -> None:
        self.measure = measure
        self.rank = rank
        self.every = every
        self.step = 0
        self.first: tuple[Tensor, Tensor] | None = None
        self.gains: list[Tensor] = []
        self.moves: list[Tensor] = []
        self._add()

    def _add(self) -> None:
        """One more pair."""
        self.diagonal, moved = self.measure()
        self.gains.append(self.diagonal.flatten())
        self.moves.append(moved.flatten())
        gains, moves = torch.stack(self.gains), torch.stack(self.moves)
        damped = moves @ moves.T
        damped += 1e-6 * damped.diagonal().mean().clamp_min(1e-30) * torch.eye(len(moves), device=moves.device)
        self.gain, self.inverse = gains, torch.linalg.inv(damped)

    def __call__(self, output: Tensor, target: Tensor, images: Tensor) -> Tensor:
        """The loss of one batch."""
        self.step += 1
        if self.step % self.every == 0 and len(self.gains) < self.rank:
            self._add()
        error = output - target
        diagonal = _mean(error.square() * self.diagonal)
        projected = error.abs().flatten(1) @ self.gain.T
        low_rank = ((projected @ self.inverse) * projected).sum(1).mean()
        if self.first is None:
            self.first = diagonal.detach().clamp_min(1e-30), low_rank.detach().abs().clamp_min(1e-30)
        loss: Tensor = diagonal / self.first[0] + low_rank / self.first[1]
        return loss


@torch.no_grad()
def fima_pair(gradients: PredictionGradients, visit: Visit) -> tuple[Tensor, Tensor]:
    """Mean absolute gradient and mean absolute change of a segment's output, over images; each shaped like one output.

    Those of all images are in memory together for a moment: means of batches would round otherwise.
    """
    gradient = torch.cat(list(gradients.at(visit))).abs().mean(0)
    pairs = zip(visit.quantized, visit.targets, strict=True)
    moved = torch.cat([gradients.model.run(x, visit.index, visit.index + 1) - target for x, target in pairs])
    return gradient, moved.abs().mean(0)
