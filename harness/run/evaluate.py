"""Accuracy of a quantized model, and how far it is from full precision, in one pass over the evaluation images."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from harness.data.sets import UNLABELLED, EvaluationSet, right_classes
from harness.errors import DivergedError
from harness.machine.progress import Progress
from harness.quant.network.diagnosis import first_not_finite
from harness.quant.network.qmodel import QuantizedModel
from harness.run.confidence import Confidence, as_labels, class_counts
from harness.store.fp_logits import Evaluable, Reference
from harness.trial.record import ClassCounts, ExpectedDrop, Metrics, NoiseFloor
from harness.trial.spec import INTEGER

SURE = 1.96  # standard errors on each side of a mean: 95 %


@dataclass
class Apart:
    """Two runs of one network.

    Attributes:
        n_agree: Images where both predict the same class.
        signal: Sum of squared logits of the first.
        error: Sum of squared differences of the logits.
    """

    n_agree: int = 0
    signal: float = 0.0
    error: float = 0.0

    def add(self, one: Tensor, other: Tensor) -> None:
        """Count one batch of logits ``(n, classes)`` of both."""
        self.n_agree += int((one.argmax(1) == other.argmax(1)).sum())
        self.signal += float(one.double().square().sum())
        self.error += float((one.double() - other.double()).square().sum())


def decibel(signal: float, error: float) -> float | None:
    """Ratio of signal to error; None where there is no error."""
    return 10 * math.log10(signal / error) if error > 0 and signal > 0 else None


def other_than(arithmetic: str) -> Literal["integer", "float"]:
    """The other arithmetic."""
    return "float" if arithmetic == INTEGER else "integer"


@dataclass
class Evaluation:
    """Raw counts and sums.

    Attributes:
        n_images: Images evaluated.
        n_correct: Right by top-1, quantized.
        n_correct_top5: Right by top-5, quantized.
        n_correct_fp32: Right by top-1, full precision.
        n_correct_top5_fp32: Right by top-5, full precision.
        n_agree: Images where both predict the same class.
        signal: Sum of squared full-precision logits.
        error: Sum of squared differences of the logits.
        correct: Per image, whether the quantized model is right by top-1.
        correct_fp32: Likewise in full precision.
        doubt: Per image, how much likelier full precision finds its own class than the quantized model's.
        labels: Of the images.
        confidence: What the quantized probabilities are worth.
        confidence_fp32: Likewise in full precision.
        again: What the same network gives with the other arithmetic; None where that was not asked for.
    """

    n_images: int = 0
    n_correct: int = 0
    n_correct_top5: int = 0
    n_correct_fp32: int = 0
    n_correct_top5_fp32: int = 0
    n_agree: int = 0
    signal: float = 0.0
    error: float = 0.0
    correct: list[np.ndarray] = field(default_factory=list)
    correct_fp32: list[np.ndarray] = field(default_factory=list)
    doubt: list[np.ndarray] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    confidence: Confidence = field(default_factory=Confidence)
    confidence_fp32: Confidence = field(default_factory=Confidence)
    again: Apart | None = None

    def add(self, quantized: Tensor, reference: Tensor, labels: Tensor) -> None:
        """Count one batch of logits ``(n, classes)``."""
        right, right_fp32 = quantized.argmax(1) == labels, reference.argmax(1) == labels
        self.n_images += len(labels)
        self.n_correct += int(right.sum())
        self.n_correct_fp32 += int(right_fp32.sum())
        self.n_correct_top5 += _top5(quantized, labels)
        self.n_correct_top5_fp32 += _top5(reference, labels)
        self.n_agree += int((quantized.argmax(1) == reference.argmax(1)).sum())
        self.signal += float(reference.double().square().sum())
        self.error += float((quantized.double() - reference.double()).square().sum())
        self.correct.append(right.cpu().numpy())
        self.correct_fp32.append(right_fp32.cpu().numpy())
        self.doubt.append(_doubt(quantized, reference).cpu().numpy())
        self.labels.append(labels)
        self.confidence.add(quantized, labels)
        self.confidence_fp32.add(reference, labels)

    def metrics(self) -> Metrics:
        """Percentages, counts and the logits' signal-to-quantization-noise ratio in decibel (None: no error)."""
        percent = 100 / self.n_images
        return {
            "top1": self.n_correct * percent,
            "top5": self.n_correct_top5 * percent,
            "top1_fp32": self.n_correct_fp32 * percent,
            "top5_fp32": self.n_correct_top5_fp32 * percent,
            "agreement": self.n_agree * percent,
            "logit_sqnr_db": decibel(self.signal, self.error),
            "logit_mse": self.error / self.n_images,
            "nll": self.confidence.mean_nll,
            "nll_fp32": self.confidence_fp32.mean_nll,
            "ece": self.confidence.expected_error,
            "ece_fp32": self.confidence_fp32.expected_error,
            "n_images": self.n_images,
            "n_correct": self.n_correct,
            "n_correct_top5": self.n_correct_top5,
            "n_correct_fp32": self.n_correct_fp32,
            "n_correct_top5_fp32": self.n_correct_top5_fp32,
            "n_agree": self.n_agree,
        }

    def expected_drop(self) -> ExpectedDrop:
        """Points of top-1 that full precision's own probabilities expect to be lost; needs no labels.

        On an image where both predict different classes, the expected loss is the difference of their probabilities. The
        interval is of the mean over images; it knows nothing of how well calibrated the network is. As for every difference
        here, one image for and one against are added to it: a few images without a disagreement rule none out.
        """
        doubt = 100 * np.concatenate(self.doubt)
        more = np.concatenate([doubt, [100.0, -100.0]])
        mean, half = float(doubt.mean()), SURE * float(more.std()) / math.sqrt(len(more))
        return {"value": mean, "low": max(mean - half, 0.0), "high": mean + half}

    def noise_floor(self, against: Literal["integer", "float"]) -> NoiseFloor | None:
        """How far the other arithmetic is, where it was measured.

        Args:
            against: Its name.
        """
        if self.again is None:
            return None
        again = self.again
        agreement = 100 * again.n_agree / self.n_images
        return {"against": against, "agreement": agreement, "logit_sqnr_db": decibel(again.signal, again.error)}

    def bitmap(self) -> np.ndarray:
        """Boolean ``(2, n)``: right by top-1, quantized and full precision, in the data's order."""
        return np.stack([np.concatenate(self.correct), np.concatenate(self.correct_fp32)])

    def classes(self) -> ClassCounts:
        """What happened to the images of each class."""
        return class_counts(as_labels(self.labels), self.bitmap())


def _doubt(quantized: Tensor, reference: Tensor) -> Tensor:
    """Difference of two probabilities in full precision, ``(n,)`` in [0, 1]: of its own class and of the other's.

    Where both classes are one it is zero: only the other images, mostly few, need probabilities a second time. (Those of
    ``Confidence`` are exponentials of logarithms, whose last bits differ.)
    """
    chosen = quantized.argmax(1)
    found, apart = reference.new_zeros(len(reference), dtype=torch.float64), chosen != reference.argmax(1)
    likely = reference[apart].double().softmax(1)
    found[apart] = likely.amax(1) - likely.gather(1, chosen[apart, None]).squeeze(1)
    return found


def _top5(logits: Tensor, labels: Tensor) -> int:
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    return int((best == labels[:, None]).any(dim=1).sum())


@torch.inference_mode()
def evaluate(
    model: Evaluable,
    data: EvaluationSet,
    batch: int,
    progress: Progress,
    reference: Reference | None = None,
    *,
    noise_floor: bool = False,
    result: Evaluation | None = None,
) -> Evaluation:
    """Evaluate a model in both precisions.

    Args:
        model: The model.
        data: Evaluation images and labels.
        batch: Images at a time; does not change results beyond rounding.
        progress: Display.
        reference: Full-precision logits where they are known already, else where to keep them.
        noise_floor: Run every batch a second time with the other arithmetic.
        result: Counts something else than right classes.

    Raises:
        DivergedError: Logits are not finite.
    """
    result = result or Evaluation()
    result.again = Apart() if noise_floor else None
    reference = reference or Reference()
    with progress.task("evaluate", len(data)) as task:
        for images, labels in data.batches(batch):
            images, labels = images.to(model.device), labels.to(model.device)
            quantized, full = model(images), reference.logits(model, images, result.n_images)
            if not torch.isfinite(quantized).all():
                raise _diverged(model, images, quantized)
            result.add(quantized, full, right_classes(labels, full))
            if result.again is not None and isinstance(model, QuantizedModel):
                result.again.add(quantized, _with_other_arithmetic(model, images))
            task.advance(len(labels))
    return result


def _with_other_arithmetic(model: QuantizedModel, images: Tensor) -> Tensor:
    before = model.arithmetic
    model.arithmetic = other_than(before)
    try:
        return model(images)
    finally:
        model.arithmetic = before


def _diverged(model: Evaluable, images: Tensor, logits: Tensor) -> DivergedError:
    bad = ~torch.isfinite(logits).all(1)
    place = first_not_finite(model, images[bad][:1]) if isinstance(model, QuantizedModel) else ""
    return DivergedError(f"logits of {int(bad.sum())} images are not finite{f': {place}' if place else ''}")


@torch.inference_mode()
def top1(model: Evaluable, data: EvaluationSet, batch: int) -> float:
    """Top-1 accuracy in percent of the quantized model alone; without labels its agreement with full precision."""
    hits = 0
    for images, labels in data.batches(batch):
        images = images.to(model.device)
        if (labels == UNLABELLED).any():
            labels = right_classes(labels, model.full_precision(images).cpu())
        hits += int((model(images).argmax(1).cpu() == labels).sum())
    return 100 * hits / len(data)
