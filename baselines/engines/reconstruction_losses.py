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


def tenth(output: Tensor, target: Tensor, images: Tensor) -> Tensor:
    """A tenth of the squared error: in AdaLog's reconstruction the regulariser weighs ten times as much as elsewhere."""
    return mse(output, target, images) / 10


def power(output: Tensor, target: Tensor, images: Tensor, exponent: float) -> Tensor:
    """The error to some power: BRECQ learns activation scales with 2.4."""
    return _mean((output - target).abs().pow(exponent))


def divergence(output: Tensor, target: Tensor, images: Tensor) -> Tensor:
    """``KL(target, output)`` of logits: FIMA-Q's loss of the classifier."""
    return F.kl_div(F.log_softmax(output, dim=-1), F.log_softmax(target, dim=-1), reduction="batchmean", log_target=True)


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
    """Gradients of the divergence of a prediction from full precision, by the output of one segment.

    Args:
        model: The network.
        batches: Images.
        budget: Holds the full-precision predictions.
        temperature: Logits are divided by it.
    """

    def __init__(self, model: QuantizedModel, batches: Sequence[Tensor], budget: Budget, temperature: float = 1.0) -> None:
        self.model = model
        self.batches = batches
        self.budget = budget
        self.temperature = temperature

    def at(self, visit: Visit) -> Iterator[Tensor]:
        """With everything up to the segment quantized as it is now (BRECQ), batch by batch."""
        for number, x in enumerate(visit.quantized):
            with torch.no_grad():
                output = self.model.run(x, visit.index, visit.index + 1)
            yield self.of(output, number, visit.index + 1)

    def of(self, output: Tensor, number: int, after: int) -> Tensor:
        """The gradient by an output of the images of one batch; segments behind it run in full precision.

        Args:
            output: What segment ``after - 1`` gives.
            number: The batch.
            after: The next segment.
        """
        with torch.enable_grad():
            leaf = output.detach().clone().requires_grad_(True)
            last = after == len(self.model.segments)
            self.divergence(leaf if last else self.model.run_full_precision(leaf, after), number).backward()
        assert leaf.grad is not None
        return leaf.grad

    def divergence(self, logits: Tensor, number: int) -> Tensor:
        """How far logits of one batch are from full precision's, summed over its images; differentiable."""
        predicted = F.log_softmax(logits / self.temperature, dim=1)
        return F.kl_div(predicted, self._predictions[number], reduction="sum", log_target=True)

    @cached_property
    def _predictions(self) -> Kept:
        """Logarithmic class probabilities in full precision, batch by batch."""
        run, heat = self.model.run_full_precision, self.temperature
        with torch.no_grad():
            return self.budget.keep(F.log_softmax(run(x) / heat, dim=1) for x in self.batches)


class Fima:
    """FIMA-Q's loss: diagonal plus rank-k estimate of the Fisher information (Wu et al., CVPR 2025).

    With the pairs ``G = mean|g|`` and ``D = mean|dz|`` of the learned segment at ``k`` times of its learning, diagonal:
    ``dz^2 mean(G)``; low rank: ``a = |dz| G^T``, ``a (D D^T)^-1 a^T``. A pair joins at the first step and at equal
    distances from then on; each term is divided by its value at the last renewal.

    Args:
        measure: The pair ``(mean|g|, mean|dz|)`` over images of the segment in its present state, each shaped like the
            output of one image.
        rank: Number of pairs, k.
        every: Steps from one pair to the next.

    Attributes:
        gains: The pairs' first halves, ``(k, numbers of an output)``.
        moves: Their second halves.
    """

    def __init__(self, measure: Callable[[], tuple[Tensor, Tensor]], rank: int, every: int) -> None:
        self.measure = measure
        self.rank = rank
        self.every = every
        self.step = 0
        self.gains: list[Tensor] = []
        self.moves: list[Tensor] = []

    def _renew(self) -> None:
        gain, move = self.measure()
        self.shape = gain.shape
        self.gains.append(gain.flatten())
        self.moves.append(move.flatten())
        self.gain = torch.stack(self.gains)
        moves = torch.stack(self.moves).double()
        # Pairs of a segment that hardly moved are nearly parallel: a pseudo-inverse leaves out what has no direction.
        self.inverse = torch.linalg.pinv(moves @ moves.T, hermitian=True).to(self.gain.dtype)

    def __call__(self, output: Tensor, target: Tensor, images: Tensor) -> Tensor:
        """The loss of one batch."""
        renew = self.step % self.every == 0 and len(self.gains) < self.rank
        if renew:
            self._renew()
        self.step += 1
        error = output - target
        diagonal = _mean(error.square() * self.gain.mean(dim=0).reshape(self.shape))
        projected = error.abs().flatten(1) @ self.gain.T
        low_rank = ((projected @ self.inverse) * projected).sum(1).mean()
        if renew:
            self.unit = diagonal.detach().clamp_min(1e-30), low_rank.detach().abs().clamp_min(1e-30)
        loss: Tensor = diagonal / self.unit[0] + low_rank / self.unit[1]
        return loss


@torch.no_grad()
def fima_pair(gradients: PredictionGradients, visit: Visit, present: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Mean absolute gradient and mean absolute change of a segment's output, over images; each shaped like one output.

    As released: the segment alone is quantized, in the state that is being learned (soft roundings, dropped quantization).
    Gradients and changes of all images are in memory together for a moment: means of batches would round otherwise.

    Args:
        gradients: Of the prediction.
        visit: The segment.
        present: The segment in its present state.
    """
    outputs = [present(x) for x in visit.full]
    gradient = torch.cat([gradients.of(x, number, visit.index + 1) for number, x in enumerate(outputs)])
    moved = torch.cat([x - target for x, target in zip(outputs, visit.targets, strict=True)])
    return gradient.abs().mean(0), moved.abs().mean(0)
