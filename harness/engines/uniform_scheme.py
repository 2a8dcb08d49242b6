"""The plain scheme behind the observer baselines: one scale per activation tensor, float operators, any placement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.data.sets import CalibrationSet
from harness.engines.placement_settings import ONLY_DEPLOY, AnySites, AttentionProducts, Implies
from harness.method.base import Context
from harness.method.settings import JOINED
from harness.quant.calibrate.installation import install_weight_ranges, named_observer, value_observers
from harness.quant.calibrate.placement import Placement
from harness.quant.calibrate.statistics import collect
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class UniformConfig:
    """Settings shared by the baselines ``minmax``, ``ema`` and ``percentile``."""

    IMPLIES: ClassVar[Implies] = {
        "sites": {"values": ONLY_DEPLOY, "operands": ONLY_DEPLOY, "deploy": {"weights": "symmetric"}}
    }

    sites: AnySites = "values"
    attention: AttentionProducts = False
    weights: Annotated[
        Literal["asymmetric", "symmetric"],
        Field(description="codes of weights: unsigned with zero points, or signed; sites=deploy has signed ones"),
    ] = "asymmetric"
    activations: Annotated[
        Literal["asymmetric", "symmetric"],
        Field(description="codes of activations: unsigned with a zero point, or signed", json_schema_extra=JOINED),
    ] = "asymmetric"
    image: Annotated[bool, Field(description="quantize the input image")] = True
    batch: Annotated[int, Field(ge=1, description="calibration images per batch")] = 32

    @property
    def placement(self) -> Placement:
        """Where the quantizers sit."""
        return Placement(self.sites, image=self.image, attention=self.attention)


def apply_uniform(
    model: QuantizedModel, calibration: CalibrationSet, context: Context, config: UniformConfig, observer: str
) -> None:
    """Per-channel min-max weights and per-tensor activations, ranges by the named observer."""
    placement, bits = config.placement, context.bits
    install_weight_ranges(model, bits, symmetric=config.weights == "symmetric", placement=placement)
    observers = value_observers(
        placement.among(model),
        bits,
        named_observer(observer),
        symmetric=config.activations == "symmetric",
        placement=placement,
    )
    batches = list(calibration.batches(config.batch))
    with context.progress.task("calibrate", len(batches)) as task:
        model.quantizers.update(collect(model, task.track(batches), observers))
