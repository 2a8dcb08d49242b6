"""How far the output vectors of a quantized network are from full precision: for networks without a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from harness.errors import CaptureError
from harness.run.evaluate import Evaluation, decibel
from harness.trial.record import Metrics, NoiseFloor


@dataclass
class FeatureEvaluation(Evaluation):
    """Sums over the output vectors instead of counts of right classes; labels are not read.

    Attributes:
        cosine: Sum over the images of the cosine similarity of quantized and full-precision vectors.
        cosine_min: The smallest of them.
    """

    cosine: float = 0.0
    cosine_min: float = 1.0

    def add(self, quantized: Tensor, reference: Tensor, labels: Tensor) -> None:
        """Count one batch of vectors ``(n, d)``.

        Raises:
            CaptureError: The network gives something else than one vector per image.
        """
        if reference.ndim != 2:
            raise CaptureError(
                f"the network gives outputs of shape {tuple(reference.shape[1:])} per image, expected one vector",
                "features are measured of networks that pool",
            )
        one, other = quantized.double(), reference.double()
        cosines = F.cosine_similarity(one, other, dim=1).clamp(-1, 1)
        self.n_images += len(reference)
        self.cosine += float(cosines.sum())
        self.cosine_min = min(self.cosine_min, float(cosines.min()))
        self.signal += float(other.square().sum())
        self.error += float((one - other).square().sum())

    def metrics(self) -> Metrics:
        """Mean and smallest cosine similarity, signal-to-quantization-noise ratio in decibel (None: no error)."""
        return {
            "n_images": self.n_images,
            "feature_cosine": self.cosine / self.n_images,
            "feature_cosine_min": self.cosine_min,
            "feature_sqnr_db": decibel(self.signal, self.error),
            "feature_mse": self.error / self.n_images,
        }

    def noise_floor(self, against: Literal["integer", "float"]) -> NoiseFloor | None:
        """How far the other arithmetic is, without predictions that could agree."""
        if self.again is None:
            return None
        return {"against": against, "logit_sqnr_db": decibel(self.again.signal, self.again.error)}
