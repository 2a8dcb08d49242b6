"""The plain scheme behind the observer baselines: FQ-ViT's sites, one scale per activation tensor, float operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from harness.data.sets import CalibrationSet
from harness.method.base import Context
from harness.quant.calibrate.installation import install_weight_ranges, named_observer, value_observers, value_sites
from harness.quant.calibrate.statistics import collect
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class UniformConfig:
    """Settings shared by the baselines ``minmax``, ``ema`` and ``percentile``."""

    weights: Annotated[
        Literal["asymmetric", "symmetric"], Field(description="codes of weights: unsigned with zero points, or signed")
    ] = "asymmetric"
    image: Annotated[bool, Field(description="quantize the input image")] = True
    batch: Annotated[int, Field(ge=1, description="calibration images per batch")] = 32


def apply_uniform(
    model: QuantizedModel, calibration: CalibrationSet, context: Context, config: UniformConfig, observer: str
) -> None:
    """Per-channel min-max weights and per-tensor activations, ranges by the named observer."""
    install_weight_ranges(model, context.bits.weight, symmetric=config.weights == "symmetric")
    sites = value_sites(model, image=config.image)
    observers = value_observers(sites, context.bits, named_observer(observer))
    batches = list(calibration.batches(config.batch))
    with context.progress.task("calibrate", len(batches)) as task:
        model.quantizers.update(collect(model, task.track(batches), observers))
