"""How many calibration images a method takes, and the record of it."""

from __future__ import annotations

from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.method.base import Context


def first_images(calibration: CalibrationSet, wanted: int, context: Context) -> Tensor:
    """The first images, as many as wanted where the trial has them; the stage's notes say both numbers.

    Args:
        calibration: The trial's images.
        wanted: How many the method's settings ask for; by default what its authors used.
        context: The step's context.
    """
    images = calibration.images[:wanted]
    context.notes.update(images_used=len(images), images_wanted=wanted)
    return images
