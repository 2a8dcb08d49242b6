"""Distances between quantized and full-precision logits, as scalars to be minimised.

``infonce`` is the contrastive loss of Evol-Q (Frumkin et al. 2023, Eq. 4): every image's own full-precision logits are
the positive, those of the other images in the batch the negatives. It has no minimum at the target: logits that repel
the other images' score below full precision against itself. That value is the loss's *floor*: what a search gains below
it leads away from full precision. The other losses are zero at the target and nowhere below.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]
NAMES = ("infonce", "mse", "cosine", "kl", "fisher")


def infonce(output: Tensor, target: Tensor, temperature: float, normalise: bool) -> Tensor:
    """Contrastive loss over a batch of logits ``(n, classes)``, mean over images.

    Args:
        output: Quantized logits.
        target: Full-precision logits of the same images.
        temperature: Divides the similarities.
        normalise: L2-normalised logits and the result times twice the temperature, as in the released code; otherwise
            plain inner products, as printed in the paper.
    """
    if normalise:
        output, target = F.normalize(output, dim=1), F.normalize(target, dim=1)
    similarity = output @ target.T / temperature
    loss = F.cross_entropy(similarity, torch.arange(len(output), device=output.device))
    return 2 * temperature * loss if normalise else loss


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of the logits."""
    return F.mse_loss(output, target)


def cosine(output: Tensor, target: Tensor) -> Tensor:
    """One minus the mean cosine similarity per image."""
    return 1 - F.cosine_similarity(output, target, dim=1).mean()


def kl(output: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the quantized from the full-precision class distribution, mean over images."""
    return F.kl_div(F.log_softmax(output, 1), F.log_softmax(target, 1), reduction="batchmean", log_target=True)


def fisher(output: Tensor, target: Tensor) -> Tensor:
    """Squared difference of the logits weighted by the diagonal of the Fisher information, mean over images.

    The weight of a class is the expected squared gradient of the classification loss, as in BRECQ (Li et al. 2021). There
    are no labels, so the expectation is over the full-precision network's own predictions: ``p (1 - p)``.
    """
    probability = target.softmax(1)
    return (probability * (1 - probability) * (output - target).square()).sum(1).mean()


def named(name: str, *, temperature: float, normalise: bool) -> Loss:
    """The loss of that name as a function of output and target.

    Raises:
        KeyError: There is no such loss.
    """
    if name == "infonce":
        return lambda output, target: infonce(output, target, temperature, normalise)
    return {"mse": mse, "cosine": cosine, "kl": kl, "fisher": fisher}[name]
