"""PTQ4ViT: twin uniform quantization with a Hessian-guided search (Yuan et al., ECCV 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.baselines.engines.calibration_images import first_images
from harness.baselines.engines.layer_grids import LayerSearchSettings, Twin
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
class Ptq4vitConfig(PlacedOperands):
    """Settings of ``ptq4vit``."""

    IMPLIES: ClassVar[Implies] = operands_or_deploy(twin="none")
    REFUSED: ClassVar[Refused] = NO_VALUES

    sites: OperandSites = "operands"
    attention: AttentionProducts = False
    image: OuterImage = "full"
    images: Annotated[int, Field(ge=1, description="calibration images used; the paper uses 32")] = 32
    twin: Annotated[
        Twin,
        Field(
            description="ranges of softmax and GELU outputs: twins as in the released code (softmax: the sum of both parts, "
            "one is a code), twins as the paper prints them, or one scale"
        ),
    ] = "released"
    score: Annotated[Literal["hessian", "cosine"], Field(description="how outputs are compared")] = "hessian"
    gradient: Annotated[
        Literal["random", "quantized"],
        Field(
            description="hessian: random logits pulled back through the full-precision network (what the released code's "
            "rounding noise amounts to), or the divergence of the network quantized by min-max (as the paper says)"
        ),
    ] = "random"
    low: Annotated[float, Field(ge=0, description="first factor of the grid")] = 0.01
    high: Annotated[float, Field(gt=0, description="end of the grid, never tried itself")] = 1.2
    steps: Annotated[int, Field(ge=1, description="factors tried")] = 100
    rounds: Annotated[int, Field(ge=1, description="how often weights and operands take turns")] = 3
    batch: Annotated[int, Field(ge=1, description="images per backward pass; the released code uses 4")] = 4


@register(
    "ptq4vit",
    role=Role.SCHEME,
    provides=("scheme", "scales"),
    version=2,
    paper="Yuan et al., PTQ4ViT: Post-Training Quantization for Vision Transformers with Twin Uniform Quantization, "
    "ECCV 2022",
)
class Ptq4vit(Method[Ptq4vitConfig]):
    """Search scales of weights and operands layer by layer, with twin ranges behind softmax and GELU."""

    Config = Ptq4vitConfig
    quick: ClassVar[Mapping[str, Any]] = {"steps": 6, "rounds": 1}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Search with inputs from the full-precision network (parallel calibration)."""
        c = self.config
        settings = LayerSearchSettings(
            c.low,
            c.high,
            c.steps,
            c.rounds,
            c.score,
            c.gradient,
            sequential=False,
            twin=c.twin,
            batch=c.batch,
            placement=c.placement,
        )
        search_layers(model, first_images(calibration, c.images, context), settings, context)
