"""QwT: a linear layer beside each block makes up for what quantization lost (Fu et al., CVPR 2025)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.engines.layerwise import Visit, walk
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.network.inventory import HALF_BYTES
from harness.quant.network.qmodel import QuantizedModel

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class QwtConfig:
    """Settings of ``qwt``."""

    ridge: Annotated[
        float,
        Field(
            ge=0,
            description="regulariser as a share of the mean squared block input; 0: of 0.001 to 10 the one that predicts a "
            "quarter of the images best, which its fit does not see",
        ),
    ] = 0.0
    batch: Annotated[int, Field(ge=1, description="calibration images per pass")] = 32


@register(
    "qwt",
    role=Role.CORRECT,
    needs=("scheme", "scales"),
    version=2,
    paper="Fu et al., Quantization without Tears, CVPR 2025",
)
class Qwt(Method[QwtConfig]):
    """Fit full-precision minus quantized block output from the quantized block's input, in closed form."""

    Config = QwtConfig

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Block after block; each sees what the compensations before it changed. Kept in half precision."""
        found = _Found()
        visits = walk(model, calibration.images, context, batch=self.config.batch, full=True)
        with context.progress.task("qwt", len(model.segments)) as task:
            for visit in task.track(visits):
                self._compensate(visit, context, found)
        context.notes.update(vars(found))

    def _compensate(self, visit: Visit, context: Context, found: _Found) -> None:
        """Fit and install the linear layer of one block, unless it has nothing to make up for."""
        model, name = visit.model, visit.segment.name
        inputs = visit.quantized
        pairs = zip(visit.targets, visit.outputs, strict=True)
        missing = context.budget.keep(target - output for target, output in pairs)
        same = visit.segment.is_block and inputs[0].shape == missing[0].shape and inputs[0].ndim != 2
        lossless = not any(float(one.abs().max()) > 0 for one in missing)
        if not same or lossless or not _channels_last(model, visit.index):
            return
        # One block's inputs and errors of all images are in memory together: the closed form sums over them in one go.
        x, y = torch.cat(list(inputs)), torch.cat(list(missing))
        ridge = self.config.ridge or held_out_ridge(x, y)
        weight, bias = RidgeRegression(x.flatten(0, -2), y.flatten(0, -2)).fit(ridge)
        found.ridges[name] = ridge
        model.compensations[name] = weight.half().float(), bias.half().float()
        found.extra_bytes += HALF_BYTES * (weight.numel() + bias.numel())
        visit.changed()
        left = sum(float((a - b).square().sum()) for a, b in zip(visit.targets, visit.outputs, strict=True))
        found.explained[name] = 1 - left / sum(float(one.square().sum()) for one in missing)


@dataclass
class _Found:
    """Facts of a run, for its record.

    Attributes:
        extra_bytes: Size of all compensations in half precision.
        explained: Share of each block's squared error that its compensation takes away.
        ridges: The regulariser of each block.
    """

    extra_bytes: int = 0
    explained: dict[str, float] = field(default_factory=dict)
    ridges: dict[str, float] = field(default_factory=dict)


def held_out_ridge(inputs: Tensor, missing: Tensor) -> float:
    """The regulariser whose fit on three quarters of the images predicts the others best; the middle one for a few images.

    Args:
        inputs: ``(images, ..., channels)``.
        missing: Likewise.
    """
    left_out = len(inputs) // 4
    if not left_out:
        return RIDGES[len(RIDGES) // 2]
    x, y = inputs[:-left_out].flatten(0, -2), missing[:-left_out].flatten(0, -2)
    other_x, other_y = inputs[-left_out:].flatten(0, -2), missing[-left_out:].flatten(0, -2)

    regression = RidgeRegression(x, y)

    def error(ridge: float) -> float:
        weight, bias = regression.fit(ridge)
        return float((other_x @ weight + bias - other_y).square().sum())

    return min(RIDGES, key=error)


class RidgeRegression:
    """A ridge regression with an intercept: the moments of its rows, from which any ridge is solved.

    Args:
        inputs: ``(rows, channels)``.
        missing: ``(rows, channels)``.
    """

    def __init__(self, inputs: Tensor, missing: Tensor) -> None:
        x, y = inputs.double(), missing.double()
        self.x_mean, self.y_mean = x.mean(0), y.mean(0)
        x, y = x - self.x_mean, y - self.y_mean
        self.gram, self.products = x.T @ x, x.T @ y

    def fit(self, ridge: float) -> tuple[Tensor, Tensor]:
        """Weight ``(channels, channels)`` for ``inputs @ weight``, and bias ``(channels,)``; float32.

        Args:
            ridge: Share of the mean squared centred input.
        """
        gram = self.gram.clone()
        gram.diagonal().add_(ridge * gram.diagonal().mean().clamp_min(1e-30))
        weight = torch.linalg.solve(gram, self.products)
        return weight.float(), (self.y_mean - self.x_mean @ weight).float()


def _channels_last(model: QuantizedModel, index: int) -> bool:
    """Whether the segment's last value has its channels last; a convolutional network's have not."""
    last = [site for name in model.segments[index].sites if (site := model.sites[name]).place == "value"][-1]
    return last.axis != 1
