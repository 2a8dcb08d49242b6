"""LAPQ: all ranges together by the network's loss, from the best of the Lp norms on (Nahshan et al., 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from harness.data.sets import CalibrationSet
from harness.graph.sites import Place
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.calibrate.installation import unrounded
from harness.quant.format.uniform import Uniform
from harness.quant.network.qmodel import QuantizedModel

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]
NORMS = np.linspace(2, 4, 10)  # the exponents whose losses are measured, as released
SMALLEST = 0.02  # share of a range that the norms' searches go down to
SAMPLES = 20_000  # elements of an activation that the norms see
UNLIMITED = 10**9
IMPOSSIBLE = 1e6  # the loss of a range that is not positive


@dataclass(frozen=True)
class LapqConfig:
    """Settings of ``lapq``."""

    images: Annotated[int, Field(ge=1, description="calibration images used")] = 512
    rounds: Annotated[int, Field(ge=0, description="rounds of Powell's method over all ranges; 0: the start alone")] = 1
    evaluations: Annotated[
        int, Field(ge=0, description="most evaluations of the loss by Powell's method; 0 for any number")
    ] = 0
    batch: Annotated[int, Field(ge=1, description="images per forward pass")] = 64


@register(
    "lapq",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=2,
    paper="Nahshan et al., Loss Aware Post-Training Quantization, Machine Learning 2021",
)
class Lapq(Method[LapqConfig]):
    """A factor for each range: Lp norms, the exponent by a quadratic fit of the loss, then Powell's method over all."""

    Config = LapqConfig
    quick: ClassVar[Mapping[str, Any]] = {"evaluations": 20, "images": 8}

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """The loss is cross-entropy with the full-precision network's classes: calibration images have no labels."""
        images = calibration.images[: self.config.images]
        ranges = _Ranges(model, images.split(self.config.batch))
        context.notes["images_used"], context.notes["images_wanted"] = len(images), self.config.images
        if not ranges.sites:
            return
        unrounded(model, (name for name in ranges.sites if name in model.weights), "lapq")
        samples = ranges.samples(context.generator("lapq"))
        starts = [ranges.by_norm(samples, float(p)) for p in NORMS]
        losses = [ranges.loss(start) for start in starts]
        exponent = fitted_exponent(losses)
        start = ranges.by_norm(samples, exponent)
        first = ranges.loss(start)
        found = self._refined(ranges, start) if self.config.rounds else start
        last = ranges.loss(found)
        if last > first:
            last = ranges.loss(start)
        context.notes.update(exponent=exponent, losses=losses, start_loss=first, loss=last, evaluations=ranges.evaluations)

    def _refined(self, ranges: _Ranges, start: Vector) -> Vector:
        most = self.config.evaluations or UNLIMITED
        result = minimize(ranges.loss, start, method="Powell", options={"maxiter": self.config.rounds, "maxfev": most})
        found: Vector = np.atleast_1d(result.x)
        return found


def fitted_exponent(losses: list[float]) -> float:
    """Where a quadratic fit of the loss over the exponent is lowest; the best measured one where it has no minimum there."""
    curvature, slope, _ = np.polyfit(NORMS, losses, 2)
    lowest = -slope / (2 * curvature) if curvature > 0 else np.inf
    return float(lowest if NORMS[0] <= lowest <= NORMS[-1] else NORMS[int(np.argmin(losses))])


class _Ranges:
    """All uniform ranges of a network, each times a factor, and the loss."""

    def __init__(self, model: QuantizedModel, batches: tuple[Tensor, ...]) -> None:
        self.model = model
        self.batches = batches
        # Powell's method takes the ranges in turn: in execution order, in which a loaded state need not have them.
        formats = ((name, model.quantizers.get(name)) for name in model.sites)
        self.sites = {name: one for name, one in formats if isinstance(one, Uniform)}
        self.classes = [model.full_precision(images).argmax(1) for images in batches]
        self.evaluations = 0

    def scaled(self, name: str, factor: float) -> Uniform:
        """A site's quantizer with its range times a factor: the zero point stays, also one that is no whole number."""
        quantizer = self.sites[name]
        low, high = quantizer.minimum * factor, quantizer.maximum * factor
        return replace(quantizer, scale=quantizer.scale * factor, minimum=low, maximum=high)

    def loss(self, factors: Vector) -> float:
        """Mean cross-entropy with these factors, which stay installed."""
        self.evaluations += 1
        if not (factors > 0).all():
            return IMPOSSIBLE
        for name, factor in zip(self.sites, factors, strict=True):
            self.model.quantizers[name] = self.scaled(name, float(factor))
        total = sum(
            float(F.cross_entropy(self.model(images), classes, reduction="sum"))
            for images, classes in zip(self.batches, self.classes, strict=True)
        )
        mean = total / sum(map(len, self.batches))
        return mean if np.isfinite(mean) else IMPOSSIBLE

    def samples(self, generator: torch.Generator) -> dict[str, Tensor]:
        """What each range's norm sees: the weight, or elements of the first batch's activation."""
        found = {name: one.present_weight for name, one in self.model.weights.items() if name in self.sites}

        def watch(name: str, x: Tensor) -> None:
            site = self.model.sites[name]
            if name in self.sites and site.place is not Place.PARAMETER:
                found[name] = x.clone() if self.sites[name].axis is not None else _some(x, generator)

        self.model.observe(self.batches[0], watch)
        return found

    def by_norm(self, samples: dict[str, Tensor], p: float) -> Vector:
        """The factor of each range with the least ``mean |Q(x) - x|^p``."""
        bounds = (SMALLEST, 1.0)
        errors = (partial(self._error, name, samples[name], p) for name in self.sites)
        return np.array([float(minimize_scalar(error, bounds=bounds, method="bounded").x) for error in errors])

    def _error(self, name: str, x: Tensor, p: float, factor: float) -> float:
        return float((self.scaled(name, factor).quantize(x) - x).abs().pow(p).mean())


def _some(x: Tensor, generator: torch.Generator) -> Tensor:
    """At most ``SAMPLES`` elements."""
    flat = x.flatten()
    if flat.numel() <= SAMPLES:
        return flat.clone()
    return flat[torch.randint(flat.numel(), (SAMPLES,), generator=generator).to(flat.device)]
