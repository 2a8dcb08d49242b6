"""AdaLog: logarithms of an adapted base after softmax and GELU, uniform quantizers elsewhere (Wu et al., ECCV 2024)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.baselines.engines.calibration_images import first_images
from harness.baselines.engines.operation_search import Installing, OperationSearch
from harness.baselines.engines.quantizer_spaces import Centre, SearchEffort, uniform_space
from harness.baselines.engines.reparameterisation import ZeroPoint, reparameterise
from harness.baselines.engines.segment_operations import operations_of
from harness.data.sets import CalibrationSet
from harness.engines.layerwise import SegmentInputs
from harness.engines.placement_settings import (
    NO_VALUES,
    AttentionProducts,
    Implies,
    OperandSites,
    PlacedOperands,
    Refused,
    operands_or_deploy,
)
from harness.graph.sites import Place
from harness.machine.memory import Kept
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.calibrate.installation import FLOAT_BITS
from harness.quant.format.affine import AffineSpec
from harness.quant.format.arithmetic import channel_rows
from harness.quant.network.operands import inner_norms, operand_bits
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import Bits


@dataclass(frozen=True)
class AdalogConfig(PlacedOperands):
    """Settings of ``adalog``."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "uniform": {"logarithms": False, "steps": 1, "images": 128},
    }

    IMPLIES: ClassVar[Implies] = operands_or_deploy(logarithms=False, zero_point="rounded")
    REFUSED: ClassVar[Refused] = NO_VALUES

    sites: OperandSites = "operands"
    attention: AttentionProducts = False
    preset: Annotated[
        Literal["paper", "uniform"],
        Field(
            description="paper: the released code; uniform: what FIMA-Q's and APHQ-ViT's releases start from, uniform "
            "quantizers everywhere, searched on the grid alone with 128 images"
        ),
    ] = "paper"
    images: Annotated[int, Field(ge=1, description="calibration images used, in one batch; the paper uses 32")] = 32
    candidates: Annotated[int, Field(ge=32, description="candidates per step of a search")] = 128
    keep: Annotated[int, Field(ge=1, description="best candidates that the next step looks around")] = 16
    steps: Annotated[int, Field(ge=1, description="steps from coarse to fine")] = 6
    rounds: Annotated[int, Field(ge=1, description="how often weights and operands take turns")] = 3
    logarithms: Annotated[bool, Field(description="logarithms after softmax and GELU; false: uniform quantizers")] = True
    reparameterise: Annotated[
        Literal["equal_bits", "always", "never"],
        Field(
            description="RepQ-ViT's reparameterisation of LayerNorm outputs: as released when weights and activations "
            "have the same width, or otherwise"
        ),
    ] = "equal_bits"
    zero_point: Annotated[
        ZeroPoint,
        Field(
            description="mean zero points of reparameterised norms: rounded as released, or fractions as in RepQ-ViT's code"
        ),
    ] = "rounded"
    zero_points: Annotated[
        Centre,
        Field(
            description="zero points tried: around the middle code as released, or around that of the min-max range (ours: "
            "values of one sign need it at eight bits)"
        ),
    ] = "middle"
    image: Annotated[
        Literal["full", "quantized"],
        Field(description="the input image: as it is (released: it has eight bits already), or quantized to eight bits"),
    ] = "full"


@register(
    "adalog",
    role=Role.SCHEME,
    provides=("scheme", "scales"),
    version=2,
    paper="Wu et al., AdaLog: Post-Training Quantization for Vision Transformers with Adaptive Logarithm Quantizer, "
    "ECCV 2024",
)
class Adalog(Method[AdalogConfig]):
    """Search scales, zero points and logarithm bases from coarse to fine by the squared error of each layer's output."""

    Config = AdalogConfig
    quick: ClassVar[Mapping[str, Any]] = {"candidates": 32, "steps": 1, "rounds": 1, "images": 4}

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Layers see full-precision inputs; weights and operands take turns.

        What segments, and the operations of one segment, read is kept within the context's budget. The inputs and the
        output of the one operation that is searched are in memory together: an error adds up all images at once.
        """
        c = self.config
        images = first_images(calibration, c.images, context)
        self._reparameterise(model, images, context)
        total = sum(len(operations_of(segment.module)) for segment in model.segments)
        operands: dict[str, Kept] = {}
        watch = _keeping_operands(model, operands, context)
        # Values as quantizers will see them: those of the full-precision network with its norms reparameterised.
        inputs = SegmentInputs(
            lambda x, start, stop: model.observe(x, watch, start=start, stop=stop), [images], context.budget
        )
        rule = Installing(self._effort, c.zero_points, c.rounds, logarithms=c.logarithms, placement=c.placement)
        with context.progress.task("adalog", total) as task:
            for index, segment in enumerate(model.segments):
                operands.clear()
                inputs.advance(index)  # the forward pass in which the operands are watched
                for operation in operations_of(segment.module).values():
                    OperationSearch(model, operation, operands, context.bits, rule).run()
                    task.advance()

    @property
    def _effort(self) -> SearchEffort:
        return SearchEffort(self.config.candidates, self.config.keep, self.config.steps)

    def _reparameterised(self, model: QuantizedModel, bits: Bits) -> dict[str, int]:
        """Widths of the operands that read such norms. A norm has one scale: what holds at one reader must at the others."""
        found: dict[str, int] = {}
        for readers in inner_norms(model).values() if self.config.reparameterise != "never" else ():
            widths = {one.operand: operand_bits(model.sites[one.operand], bits) for one in readers}
            read = [one for one in readers if widths[one.operand] < FLOAT_BITS]
            equal = all(widths[one.operand] == bits.at(one.site).weight for one in read)
            if equal or self.config.reparameterise == "always":
                found |= {one.operand: widths[one.operand] for one in read}
        return found

    def _reparameterise(self, model: QuantizedModel, images: Tensor, context: Context) -> None:
        """Channel-wise quantizers of LayerNorm outputs by their own squared error, then one scale for all channels."""
        widths = self._reparameterised(model, context.bits)
        if not widths:
            return

        def watch(name: str, x: Tensor) -> None:
            if name not in widths:
                return
            rows, spec = channel_rows(x, x.ndim - 1), AffineSpec(widths[name], axis=x.ndim - 1)
            space = uniform_space(rows, spec, self._effort, self.config.zero_points, zero_points=2**spec.bits, least=1e-4)
            model.quantizers[name] = space.search(
                lambda one: channel_rows((one(x) - x).square_(), x.ndim - 1).sum(dim=1, dtype=torch.float64), space.start
            )

        model.observe(images, watch)
        context.notes["reparameterised_norms"] = len(
            reparameterise(model, self.config.zero_point, clamped=self.config.placement.deployed)
        )


def _keeping_operands(model: QuantizedModel, found: dict[str, Kept], context: Context) -> Callable[[str, Tensor], None]:
    def watch(name: str, x: Tensor) -> None:
        if model.sites[name].place is Place.OPERAND:
            found[name] = context.budget.keep([x.clone()])  # taps reuse the memory of values

    return watch
