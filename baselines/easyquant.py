"""EasyQuant: scales of weights and operands by cosine similarity, layer after layer (Wu et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from harness.baselines.engines.calibration_images import first_images
from harness.baselines.engines.layer_grids import LayerSearchSettings
from harness.baselines.engines.layer_search import search_layers
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
class EasyquantConfig(PlacedOperands):
    """Settings of ``easyquant``."""

    IMPLIES: ClassVar[Implies] = operands_or_deploy()
    REFUSED: ClassVar[Refused] = NO_VALUES

    sites: OperandSites = "operands"
    attention: AttentionProducts = False
    image: OuterImage = "full"
    images: Annotated[int, Field(ge=1, description="calibration images used")] = 32
    low: Annotated[float, Field(ge=0, description="first factor of the grid")] = 0.5
    high: Annotated[float, Field(gt=0, description="end of the grid, never tried itself")] = 1.2
    steps: Annotated[int, Field(ge=1, description="factors tried")] = 100
    rounds: Annotated[int, Field(ge=1, description="how often weights and operands take turns")] = 1
    sequential: Annotated[
        bool, Field(description="layers see quantized inputs; false is the base mode of PTQ4ViT's released code")
    ] = True


@register(
    "easyquant",
    role=Role.SCHEME,
    provides=("scheme", "scales"),
    version=2,
    paper="Wu et al., EasyQuant: Post-training Quantization via Scale Optimization, arXiv 2006.16669",
)
class Easyquant(Method[EasyquantConfig]):
    """Alternate line searches for the scales of weights and operands of each layer."""

    Config = EasyquantConfig
    quick: ClassVar[Mapping[str, Any]] = {"steps": 6}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Search with inputs that are quantized already, unless told otherwise."""
        c = self.config
        settings = LayerSearchSettings(
            c.low,
            c.high,
            c.steps,
            c.rounds,
            "cosine",
            "random",
            sequential=c.sequential,
            twin="none",
            batch=c.images,
            placement=c.placement,
        )
        search_layers(model, first_images(calibration, c.images, context), settings, context)
