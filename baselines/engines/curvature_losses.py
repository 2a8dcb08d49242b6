"""Squared errors weighted by curvatures that are measured once, before a block is learned: APHQ-ViT and LS-ViT."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness.baselines.engines.reconstruction_losses import Loss, PredictionGradients
from harness.engines.layerwise import Visit

PERTURBATION = 1e-6  # of every number of an output, up and down: APHQ-ViT's paper and released code
TINY = 1e-30  # for quotients that would divide by zero


def started_at_two(loss: Loss) -> Loss:
    """A loss in units of half its first value, so that it starts at two: released code of APHQ-ViT.

    Args:
        loss: Any loss; its first value is that of the first step.
    """
    unit: list[Tensor] = []

    def scaled(output: Tensor, target: Tensor, images: Tensor) -> Tensor:
        value = loss(output, target, images)
        if not unit:
            unit.append(value.detach().clamp_min(TINY) / 2)
        return value / unit[0]

    return scaled


def weighted(curvature: Tensor) -> Loss:
    """``mean(dz^2 H)`` with a curvature for each number of an output.

    Args:
        curvature: ``H``, shaped like the output of one image.
    """

    def loss(output: Tensor, target: Tensor, images: Tensor) -> Tensor:
        return ((output - target).square() * curvature).mean()

    return loss


def perturbation_curvature(gradients: PredictionGradients, visit: Visit, step: float = PERTURBATION) -> Tensor:
    """Average perturbation Hessian: ``E|g(z + e) - g(z - e)|`` over images (Wu et al., APHQ-ViT, CVPR 2025, Sec. 3.2).

    ``g`` is the gradient of the prediction's divergence from full precision by an output that is moved as a whole, in
    the full-precision network. A common factor cancels: the loss is divided by its first value.

    Args:
        gradients: Of the prediction.
        visit: The segment.
        step: ``e``. Released: 1e-6, which single precision rounds to a few units in the last place of most outputs.

    Returns:
        Shaped like the output of one image.
    """
    total, images = None, 0
    for number, output in enumerate(visit.targets):
        up, down = (gradients.of(output + sign * step, number, visit.index + 1) for sign in (1, -1))
        part = (up - down).abs().sum(0)
        total = part if total is None else total + part
        images += len(output)
    assert total is not None
    return total / images


class LeastSquares:
    """LS-ViT's loss: the diagonal and the rank-one Hessian that explain gradients by changes best, over all images (2026).

    Of all ``h`` the one with the least ``sum (g - h dz)^2``, number by number, is ``h = sum(g dz) / sum(dz^2)``. Of all
    ``u`` the one with the least ``sum |g - u r|^2`` is ``u = sum(g r) / sum(r^2)``, where ``r = sqrt(dz . g)``, image by
    image, is what ``u . dz`` is if ``g = u (u . dz)``. The loss is ``(sum h dz^2 + (u . dz)^2) / 2``. Both are measured at
    the first step, with one backward pass. Negative ``h`` and ``dz . g`` count as zero: the loss would have no minimum.

    Args:
        gradients: Of the prediction.
        visit: The segment.
        present: The segment in its present state.

    Attributes:
        diagonal: ``h``, shaped like the output of one image.
        direction: ``u``, likewise.
    """

    def __init__(self, gradients: PredictionGradients, visit: Visit, present: Callable[[Tensor], Tensor]) -> None:
        self.gradients = gradients
        self.visit = visit
        self.present = present
        self.diagonal: Tensor | None = None
        self.direction: Tensor | None = None

    def __call__(self, output: Tensor, target: Tensor, images: Tensor) -> Tensor:
        """The loss of one batch: the mean over its images."""
        if self.diagonal is None or self.direction is None:
            self.diagonal, self.direction = self._measured()
        error = output - target
        along = (error * self.direction).flatten(1).sum(1)
        return ((error.square() * self.diagonal).flatten(1).sum(1) + along.square()).mean() / 2

    @torch.no_grad()
    def _measured(self) -> tuple[Tensor, Tensor]:
        sums = [torch.zeros((), dtype=torch.float64)] * 4
        for number, (x, target) in enumerate(zip(self.visit.full, self.visit.targets, strict=True)):
            output = self.present(x)
            gradient = self.gradients.of(output, number, self.visit.index + 1).double()
            move = (output - target).double()
            size = (gradient * move).flatten(1).sum(1).clamp_min(0)
            root = size.sqrt().reshape(-1, *[1] * (move.ndim - 1))
            parts = (gradient * move).sum(0), move.square().sum(0), (gradient * root).sum(0), size.sum()
            sums = [part + one.to(part.device) for part, one in zip(parts, sums, strict=True)]
        slope, squares, pulled, sizes = sums
        diagonal = (slope / squares.clamp_min(TINY)).clamp_min(0)
        return diagonal.float(), (pulled / sizes.clamp_min(TINY)).float()
