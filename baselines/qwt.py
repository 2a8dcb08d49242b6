"""QwT: a linear layer beside each block makes up for what quantization lost (Fu et al., CVPR 2025)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.baselines.engines.calibration_images import first_images
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

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "chain": {"target": "chain", "fit": "held_out"}}

    preset: Annotated[
        Literal["paper", "chain"],
        Field(description="paper: as published; chain (ours): target=chain and fit=held_out"),
    ] = "paper"
    images: Annotated[int, Field(ge=1, description="calibration images used, if the trial has as many")] = 512
    target: Annotated[
        Literal["block", "chain"],
        Field(
            description="what a block should give: as published what it gives in full precision for the same input, "
            "which is the quantized network's; or what it gives in the full-precision network, so that the layer also "
            "makes up for the errors of earlier blocks"
        ),
    ] = "block"
    fit: Annotated[
        Literal["least_squares", "held_out"],
        Field(
            description="least squares with the given ridge, or the ridge out of 0.001 to 10 that predicts a quarter of the "
            "images best, which its fit does not see"
        ),
    ] = "least_squares"
    ridge: Annotated[
        float,
        Field(ge=0, description="least_squares: regulariser as a share of the mean squared block input; published: none"),
    ] = 0.0
    batch: Annotated[int, Field(ge=1, description="calibration images per pass")] = 32


@register(
    "qwt",
    role=Role.CORRECT,
    needs=("scheme", "scales"),
    version=3,
    paper="Fu et al., Quantization without Tears, CVPR 2025",
)
class Qwt(Method[QwtConfig]):
    """Fit full-precision minus quantized block output from the quantized block's input, in closed form."""

    Config = QwtConfig

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Block after block; each sees what the compensations before it changed. Kept in half precision."""
        found = _Found()
        images = first_images(calibration, self.config.images, context)
        visits = walk(model, images, context, batch=self.config.batch, full=self.config.target == "chain")
        with context.progress.task("qwt", len(model.segments)) as task:
            for visit in task.track(visits):
                self._compensate(visit, context, found)
        context.notes.update(vars(found))

    def _compensate(self, visit: Visit, context: Context, found: _Found) -> None:
        """Fit and install the linear layer of one block, unless it has nothing to make up for or does not help."""
        model, name = visit.model, visit.segment.name
        inputs = visit.quantized
        pairs = zip(self._targets(visit), visit.outputs, strict=True)
        missing = context.budget.keep(target - output for target, output in pairs)
        same = visit.segment.is_block and inputs[0].shape == missing[0].shape and inputs[0].ndim != 2
        lossless = not any(float(one.abs().max()) > 0 for one in missing)
        if not same or lossless or not _channels_last(model, visit.index):
            return
        # One block's inputs and errors of all images are in memory together: the closed form sums over them in one go.
        x, y = torch.cat(list(inputs)), torch.cat(list(missing))
        ridge = held_out_ridge(x, y) if self.config.fit == "held_out" else self.config.ridge
        x, y = x.flatten(0, -2), y.flatten(0, -2)
        weight, bias = (one.half().float() for one in RidgeRegression(x, y).fit(ridge))
        found.determination[name] = determination(x @ weight + bias, y)
        if found.determination[name] <= 0:
            return
        found.ridges[name] = ridge
        model.compensations[name] = weight, bias
        found.extra_bytes += HALF_BYTES * (weight.numel() + bias.numel())
        visit.changed()

    def _targets(self, visit: Visit) -> Iterator[Tensor]:
        """What the block should give, batch by batch."""
        if self.config.target == "chain":
            yield from visit.targets
        else:
            yield from (visit.model.run_full_precision(x, visit.index, visit.index + 1) for x in visit.quantized)


def determination(predicted: Tensor, wanted: Tensor) -> float:
    """``r^2``: one minus the squared error as a share of the squared distance from the mean of each channel.

    Args:
        predicted: ``(rows, channels)``.
        wanted: Likewise.
    """
    left = (wanted - predicted).double().square().sum()
    spread = (wanted - wanted.mean(dim=0)).double().square().sum()
    return 1 - float(left / spread.clamp_min(1e-30))


@dataclass
class _Found:
    """Facts of a run, for its record.

    Attributes:
        extra_bytes: Size of all compensations in half precision.
        determination: ``r^2`` of each block's fit on its calibration images; a block whose fit has none gets no layer.
        ridges: The regulariser of each block that got a layer.
    """

    extra_bytes: int = 0
    determination: dict[str, float] = field(default_factory=dict)
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
        # Without a ridge and with fewer rows than channels there are many solutions: the smallest one.
        weight = (
            torch.linalg.solve(gram, self.products) if ridge else torch.linalg.pinv(gram, hermitian=True) @ self.products
        )
        return weight.float(), (self.y_mean - self.x_mean @ weight).float()


def _channels_last(model: QuantizedModel, index: int) -> bool:
    """Whether the segment's last value has its channels last; a convolutional network's have not."""
    last = [site for name in model.segments[index].sites if (site := model.sites[name]).place == "value"][-1]
    return last.axis != 1
