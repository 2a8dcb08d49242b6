"""Observers: collect statistics of one site batch by batch, then propose its quantizer.

``finish`` sees the last batch again, because FQ-ViT's release scores OMSE shrink factors and PTF factors on that batch
only; ranges cover all batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from harness.quant.format import arithmetic, range_search
from harness.quant.format.affine import Affine, AffineSpec
from harness.quant.format.base import NumberFormat
from harness.quant.format.power_of_two import PowerOfTwo, power_of_two_scales
from harness.quant.format.requantized import Requantized
from harness.quant.format.uniform import from_range

EMA_MOMENTUM = 0.01
PERCENTILE = 0.99999


class Observer(ABC):
    """Statistics of one site.

    Args:
        spec: The quantizer to propose.
        axis: Channel axis of the observed tensors.

    Attributes:
        through_zero: The range is widened to contain zero: where the zero point must be a code (integer kernels), a range
            beside zero would be cut off.
    """

    def __init__(self, spec: AffineSpec, axis: int) -> None:
        self.through_zero = False
        self.spec = spec
        self.axis = axis
        self.minimum: Tensor | None = None
        self.maximum: Tensor | None = None

    @abstractmethod
    def update(self, x: Tensor) -> None:
        """Take in one batch."""

    def finish(self, last: Tensor) -> NumberFormat:
        """Propose the quantizer; ``last`` is the last batch, already taken in."""
        return from_range(self.spec, *self.range)

    @property
    def range(self) -> tuple[Tensor, Tensor]:
        """Minimum and maximum so far, ``(1,)`` or one entry per channel.

        Raises:
            ValueError: No batch was seen.
        """
        if self.minimum is None or self.maximum is None:
            raise ValueError("the observer has seen no batch")
        if self.through_zero:
            return self.minimum.clamp_max(0), self.maximum.clamp_min(0)
        return self.minimum, self.maximum

    def extremes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Minimum and maximum of one batch, per tensor or per channel as the spec says."""
        if self.spec.axis is None:
            low, high = torch.aminmax(x)
            return low.reshape(1), high.reshape(1)
        low, high = torch.aminmax(arithmetic.channel_rows(x, self.axis), dim=1)
        return low, high


class MinMaxObserver(Observer):
    """Running minimum and maximum over all batches."""

    def update(self, x: Tensor) -> None:
        """Widen the range to this batch."""
        low, high = self.extremes(x)
        self.minimum = low if self.minimum is None else torch.minimum(self.minimum, low)
        self.maximum = high if self.maximum is None else torch.maximum(self.maximum, high)


class EmaObserver(Observer):
    """First batch's range, moved by 1 % of the difference at each further batch (FQ-ViT's ``ema``)."""

    def update(self, x: Tensor) -> None:
        """Move the range towards this batch."""
        self._move(*self.extremes(x))

    def _move(self, low: Tensor, high: Tensor) -> None:
        self.minimum = low if self.minimum is None else self.minimum + EMA_MOMENTUM * (low - self.minimum)
        self.maximum = high if self.maximum is None else self.maximum + EMA_MOMENTUM * (high - self.maximum)


class PercentileObserver(EmaObserver):
    """Quantiles 0.00001 and 0.99999 of each batch, per tensor, with the same moving average."""

    def update(self, x: Tensor) -> None:
        """Move the range towards this batch's quantiles (linear interpolation)."""
        self._move(*range_search.outer_quantiles(x.reshape(1, -1), (PERCENTILE,))[0])


class OmseObserver(MinMaxObserver):
    """Running range, then the shrink factor with the least squared error on the last batch.

    Args:
        spec: Of the quantizer to propose; a symmetric one gets zero points of its own, as in the release.
        axis: Channel axis of the observed tensors.
        shared: One factor for all channels.
        symmetric: A symmetric spec stays symmetric.
    """

    def __init__(self, spec: AffineSpec, axis: int, *, shared: bool = False, symmetric: bool = False) -> None:
        super().__init__(replace(spec, symmetric=spec.symmetric and symmetric), axis)
        self.shared = shared

    def finish(self, last: Tensor) -> NumberFormat:
        """Shrink the range."""
        spec = self.spec
        rows = last.reshape(1, -1) if spec.axis is None else arithmetic.channel_rows(last, self.axis)
        best = range_search.shrink_search(
            rows,
            *self.range,
            spec.bits,
            signed=spec.signed,
            shared=self.shared,
            symmetric=spec.symmetric,
            narrow=spec.symmetric and spec.narrow_range,
        )
        return from_range(spec, *best)


class PowerOfTwoObserver(MinMaxObserver):
    """PTF: running range per channel, factors chosen on the last batch."""

    def __init__(self, spec: AffineSpec, axis: int) -> None:
        super().__init__(replace(spec, axis=axis), axis)

    def finish(self, last: Tensor) -> NumberFormat:
        """Choose each channel's factor."""
        low, high = self.range
        rows = arithmetic.channel_rows(last, self.axis)
        scale, zero_point = power_of_two_scales(rows, low, high, self.spec.bits)
        return PowerOfTwo.of(self.spec, scale, zero_point, low, high)


class RequantizingObserver(Observer):
    """PTF and a second quantizer of one scale; both see the tensor as it is in full precision.

    Args:
        spec: Of the codes of both.
        axis: Channel axis.
        second: Observer of the second quantizer, per tensor.
    """

    def __init__(self, spec: AffineSpec, axis: int, second: Observer) -> None:
        super().__init__(spec, axis)
        self._observers = (PowerOfTwoObserver(spec, axis), second)

    def update(self, x: Tensor) -> None:
        """Take in one batch, in both."""
        for observer in self._observers:
            observer.update(x)

    def finish(self, last: Tensor) -> NumberFormat:
        """Propose one quantizer after the other."""
        first, second = (observer.finish(last) for observer in self._observers)
        assert isinstance(first, PowerOfTwo)
        assert isinstance(second, Affine)
        return Requantized.both(first, second)


OBSERVERS: dict[str, type[Observer]] = {
    "minmax": MinMaxObserver,
    "ema": EmaObserver,
    "percentile": PercentileObserver,
    "omse": OmseObserver,
}
