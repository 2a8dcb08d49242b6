"""What every calibration source must keep to. Each check says the rule and what broke it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from harness.method.base import Context
from harness.method.calibration_source import check_source
from harness.testing.applying import bytes_of, first_difference, with_quick_settings
from harness.testing.registration import RegistrationKit
from harness.trial.bits import Bits

if TYPE_CHECKING:
    from harness.data.preprocessing import Preprocessing
    from harness.data.sets import CalibrationSet
    from harness.quant.network.qmodel import QuantizedModel

COUNT = 5
ROUNDING = 1e-5  # of pixels that were normalised and are turned back


class SourceKit(RegistrationKit):
    """Tests of calibration sources: subclass it in a test module and name them.

    Attributes:
        sources: Names (tested with their ``quick`` settings), or names with settings.
    """

    sources: ClassVar[Sequence[str]] = ()

    def named(self) -> Sequence[str]:
        """The sources."""
        return self.sources

    def test_generated_images_are_what_was_asked_for(
        self, method: str, model: QuantizedModel, preprocessing: Preprocessing
    ) -> None:
        """As many images as asked for, as the network reads them, with pixels that an image file could have."""
        images = _generate(method, model, preprocessing)
        expected = (COUNT, *preprocessing.input_size)
        assert images.shape == expected, f"{method} makes images of shape {tuple(images.shape)}, expected {expected}"
        assert images.dtype == torch.float32, f"{method} makes images of {images.dtype}, expected torch.float32"
        assert not images.requires_grad, f"{method}: images still ask for gradients: return images.detach()"
        pixels = images * torch.tensor(preprocessing.std).reshape(1, -1, 1, 1)
        pixels = pixels + torch.tensor(preprocessing.mean).reshape(1, -1, 1, 1)
        low, high = float(pixels.min()), float(pixels.max())
        assert -ROUNDING <= low <= high <= 1 + ROUNDING, f"{method}: pixels from {low:.4f} to {high:.4f}, expected 0 to 1"
        assert images.std() > 0, f"{method}: all pixels are equal"

    def test_generated_images_follow_the_seed_and_leave_the_network_alone(
        self, method: str, model: QuantizedModel, preprocessing: Preprocessing, calibration: CalibrationSet
    ) -> None:
        """Random numbers come from ``context.generator(purpose)`` only; the network stays as it is."""
        before, state = model.full_precision(calibration.images), bytes_of(model)
        first = _generate(method, model, preprocessing, seed=1)
        assert torch.equal(first, _generate(method, model, preprocessing, seed=1)), f"{method}: same seed, other images"
        assert not torch.equal(first, _generate(method, model, preprocessing, seed=2)), f"{method}: the seed has no effect"
        assert torch.equal(model.full_precision(calibration.images), before), f"{method} changes the network"
        left = first_difference(state, bytes_of(model))
        assert not left, f"{method} leaves quantizers or corrections in the network: {left}"


def _generate(text: str, model: QuantizedModel, preprocessing: Preprocessing, seed: int = 0) -> Tensor:
    step = check_source(with_quick_settings(text))
    assert step is not None, f"{text} is no calibration source"
    return step.source.images(model, COUNT, preprocessing, Context(Bits.parse("w4a8"), seed))
