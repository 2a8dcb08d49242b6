"""What quantization did to each class, with intervals that hold for all classes at once. Pure functions of counts.

The same images are seen in both precisions, so a class's change is a paired difference. One image lost and one gained are
added before an interval is computed, as for every other difference (Bonett and Price 2012). A worst class is picked because
it looks worst: the intervals are wide enough that all of them hold together at 95 % (Bonferroni's correction).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from harness.trial.record import ClassCounts

LEVEL = 0.95


@dataclass(frozen=True)
class ClassDamage:
    """Changes of the classes that have images, in points of their accuracy; one entry per class.

    Attributes:
        index: Outputs of the network.
        images: Evaluation images.
        top1: Accuracy quantized, in percent.
        top1_fp32: In full precision.
        change: The difference.
        low: Lower end of its interval.
        high: Upper end.
    """

    index: np.ndarray
    images: np.ndarray
    top1: np.ndarray
    top1_fp32: np.ndarray
    change: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def worst(self) -> int:
        """Place of the class that lost most; the first of several."""
        return int(self.change.argmin())

    @property
    def harmed(self) -> int:
        """Classes whose interval lies below zero."""
        return int((self.high < 0).sum())


def class_damage(counts: ClassCounts, level: float = LEVEL) -> ClassDamage:
    """Changes with their intervals.

    Args:
        counts: Of a record.
        level: With which all intervals hold together.
    """
    index, images, full, lost, gained = (
        np.array(counts[name], dtype=np.int64) for name in ("index", "images", "right_fp32", "lost", "gained")
    )
    quantile = NormalDist().inv_cdf(1 - (1 - level) / 2 / len(index))
    more = images + 2.0
    centre = (gained - lost) / more
    variance = ((lost + gained + 2) / more - centre**2) / (more - 1)
    half = quantile * np.sqrt(variance)
    low, high = (100 * np.clip(end, -1, 1) for end in (centre - half, centre + half))
    top1, top1_fp32 = 100 * (full - lost + gained) / images, 100 * full / images
    return ClassDamage(index, images, top1, top1_fp32, top1 - top1_fp32, low, high)
