"""PTQ-for-ViT: scales by correlation of outputs, and by the order of attention's scores (Liu et al., NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.baselines.engines.calibration_images import first_images
from harness.baselines.engines.layer_grids import LayerSearchSettings
from harness.baselines.engines.layer_search import search_layers
from harness.baselines.engines.output_scores import Ranking
from harness.data.sets import CalibrationSet
from harness.engines.placement_settings import (
    NO_VALUES,
    AttentionProducts,
    Implies,
    OperandSites,
    OuterImage,
    PlacedOperands,
    Refused,
    operands_or_deploy,
)
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class RankawareConfig(PlacedOperands):
    """Settings of ``rankaware``."""

    IMPLIES: ClassVar[Implies] = operands_or_deploy()
    REFUSED: ClassVar[Refused] = NO_VALUES

    sites: OperandSites = "operands"
    attention: AttentionProducts = False
    image: OuterImage = "quantized"
    images: Annotated[int, Field(ge=1, description="calibration images used, if the trial has as many")] = 1000
    low: Annotated[float, Field(ge=0, description="first factor of the grid")] = 0.5
    high: Annotated[float, Field(gt=0, description="end of the grid, never tried itself")] = 1.2
    steps: Annotated[int, Field(ge=1, description="factors tried; the paper does not say (100: EasyQuant)")] = 100
    rounds: Annotated[
        int, Field(ge=1, description="how often weights and operands take turns at most; a round without a change ends it")
    ] = 20
    ranking: Annotated[
        Literal["sum", "mean", "none"],
        Field(
            description="how the ranking loss of attention's scores counts: summed over an image's pairs as the paper "
            "prints it, their mean (ours), or not at all"
        ),
    ] = "sum"
    gamma: Annotated[float, Field(ge=0, description="weight of the ranking loss")] = 0.1
    theta: Annotated[
        float, Field(ge=0, description="margin of the ranking loss, of products of queries and keys before scaling")
    ] = 0.2
    bias: Annotated[bool, Field(description="correct biases on the calibration images after every round")] = True
    sequential: Annotated[bool, Field(description="layers see quantized inputs")] = False


@register(
    "rankaware",
    role=Role.SCHEME,
    provides=("scheme", "scales"),
    paper="Liu et al., Post-Training Quantization for Vision Transformer, NeurIPS 2021",
)
class Rankaware(Method[RankawareConfig]):
    """Alternate searches for one scale a layer by Pearson's correlation, with a ranking loss where queries meet keys."""

    Config = RankawareConfig
    quick: ClassVar[Mapping[str, Any]] = {"steps": 6, "rounds": 1}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Search with inputs from the full-precision network, unless told otherwise."""
        c = self.config
        settings = LayerSearchSettings(
            c.low,
            c.high,
            c.steps,
            c.rounds,
            "pearson",
            "random",
            sequential=c.sequential,
            twin="none",
            batch=c.images,
            placement=c.placement,
            apart=False,
            ranking=None if c.ranking == "none" else Ranking(c.gamma, c.theta, c.ranking),
            correct_bias=c.bias,
        )
        search_layers(model, first_images(calibration, c.images, context), settings, context)
