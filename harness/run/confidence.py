"""What an evaluation says beyond top-1: how likely the labels were, how honest the confidence, and which classes changed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from harness.trial.record import ClassCounts

BINS = 15  # of equal width, as in Guo et al., On Calibration of Modern Neural Networks, ICML 2017


@dataclass
class Confidence:
    """Probabilities of one precision against what was right.

    Attributes:
        images: Counted so far.
        nll: Sum of the negative log-likelihoods of the labels, in nats.
        confidence: Per bin, sum of the largest probabilities in it.
        right: Per bin, images whose most likely class is the label.
    """

    images: int = 0
    nll: float = 0.0
    confidence: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    right: np.ndarray = field(default_factory=lambda: np.zeros(BINS))

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count one batch.

        Args:
            logits: ``(n, classes)``.
            labels: ``(n,)``.
        """
        likely = logits.double().log_softmax(1)
        self.images += len(labels)
        self.nll -= float(likely.gather(1, labels[:, None]).sum())
        confidence = likely.amax(1).exp()
        places = ((confidence * BINS).ceil().long() - 1).clamp(0, BINS - 1).cpu().numpy()
        right = (logits.argmax(1) == labels).cpu().numpy()
        self.confidence += np.bincount(places, confidence.cpu().numpy(), minlength=BINS)
        self.right += np.bincount(places, right, minlength=BINS)

    @property
    def mean_nll(self) -> float:
        """Mean negative log-likelihood of the labels, in nats."""
        return self.nll / self.images

    @property
    def expected_error(self) -> float:
        """Expected calibration error in points: mean distance of confidence and accuracy over the bins, by their images."""
        return min(100.0, float(100 * np.abs(self.confidence - self.right).sum() / self.images))


def class_counts(labels: np.ndarray, correct: np.ndarray) -> ClassCounts:
    """How many images of each class were right before and after.

    Args:
        labels: ``(n,)`` of the evaluation images.
        correct: Boolean ``(2, n)``: right by top-1, quantized and full precision.
    """
    quantized, full = correct
    images = np.bincount(labels)
    there = np.flatnonzero(images)

    def of(chosen: np.ndarray) -> list[int]:
        counts: list[int] = np.bincount(labels[chosen], minlength=len(images))[there].tolist()
        return counts

    return {
        "index": there.tolist(),
        "images": images[there].tolist(),
        "right_fp32": of(full),
        "lost": of(full & ~quantized),
        "gained": of(quantized & ~full),
    }


def as_labels(parts: list[Tensor]) -> np.ndarray:
    """Labels of all batches as one array ``(n,)``."""
    found: np.ndarray = torch.cat(parts).cpu().numpy()
    return found
