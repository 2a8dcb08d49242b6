"""I&S-ViT: shift-uniform-log2 attention probabilities and an optimisation in three stages (Zhong et al., TPAMI 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.baselines.engines.calibration_images import first_images
from harness.baselines.engines.reparameterisation import FRACTIONS, ZeroPoint, reparameterise
from harness.baselines.engines.smooth_stages import Effort, learn_weights
from harness.data.sets import CalibrationSet
from harness.engines.placement_settings import SITES
from harness.errors import IncompatibleError
from harness.graph.operations import Kind
from harness.graph.sites import Site
from harness.machine.progress import Task
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.method.settings import JOINED
from harness.quant.calibrate.installation import FLOAT_BITS, weight_rows
from harness.quant.calibrate.placement import Placement
from harness.quant.format.affine import AffineSpec
from harness.quant.format.arithmetic import channel_rows
from harness.quant.format.base import NumberFormat
from harness.quant.format.range_search import percentile_search
from harness.quant.format.shift_uniform_log2 import ShiftUniformLog2
from harness.quant.format.uniform import from_free_range
from harness.quant.network.operands import inner_norms
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import Bits

SHIFTS = (0.001, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.2, 0.5, 1.0)
WEIGHT_FRACTIONS = (0.97, 0.98, 0.99, 0.995, 0.9995, 0.9997, 0.9999, 0.99995, 0.99999)


@dataclass(frozen=True)
class IsvitConfig:
    """Settings of ``isvit``; their defaults are those of the released code."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "short": {"iterations": 200, "lr": 2e-4}}

    sites: Annotated[Literal["operands"], Field(description=SITES, json_schema_extra=JOINED)] = "operands"
    preset: Annotated[
        Literal["paper", "short"],
        Field(description="paper: the released code; short (ours): 200 steps of a five times higher rate"),
    ] = "paper"
    iterations: Annotated[
        int, Field(ge=0, description="steps per block of both learning stages; the release's README has 200 at w6a6")
    ] = 1000
    batch: Annotated[int, Field(ge=1, description="images per step")] = 64
    lr: Annotated[float, Field(gt=0, description="learning rate of weights and biases, cosine schedule")] = 4e-5
    images: Annotated[int, Field(ge=1, description="calibration images used, if the trial has as many")] = 1024
    scale_images: Annotated[int, Field(ge=1, description="images that scales are calibrated on, in one batch")] = 64
    softmax: Annotated[
        Literal["shift_log2", "uniform"],
        Field(description="attention probabilities: codes of a shifted logarithm, or uniform"),
    ] = "shift_log2"
    codes: Annotated[
        Literal["paper", "released"],
        Field(description="codes of attention probabilities: 2^bits (paper), or one more as in the released forward pass"),
    ] = "paper"
    zero_point: Annotated[
        ZeroPoint,
        Field(description="mean zero points of reparameterised norms: fractions as released, or as in repqvit"),
    ] = "released"
    stages: Annotated[
        Literal["three", "two"],
        Field(description="three, as published, or without the learning before weights are quantized (ours)"),
    ] = "three"

    @property
    def placement(self) -> Placement:
        """Where the quantizers sit: the image has eight bits already."""
        return Placement(self.sites, image=False)


@register(
    "isvit",
    role=Role.SCHEME,
    provides=("scheme", "scales"),
    paper="Zhong et al., I&S-ViT: An Inclusive and Stable Method for Pushing the Limit of Post-Training ViTs Quantization, "
    "TPAMI 2025",
)
class Isvit(Method[IsvitConfig]):
    """Learn weights under channel-wise activations, reparameterise, quantize the weights, and learn them again."""

    Config = IsvitConfig
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 2, "scale_images": 8}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Three stages; interruptible after each block of the two that learn.

        Raises:
            IncompatibleError: The network was rotated: learned blocks are compared with those of the turned network, and the
                first stage changes the weights that turn it.
        """
        c = self.config
        if model.turned_streams and c.stages == "three":
            raise IncompatibleError(
                "rotate and isvit do not go together: the first stage would change the network that it is compared with",
                "use rotate+isvit(stages=two), or leave rotate out",
            )
        images = first_images(calibration, c.images, context)
        kept = context.checkpoint.resume(model)
        facts = kept[0] if kept else {"stage": "activations", "done": 0, "losses": {}}
        steps = len(model.segments) * c.iterations
        with context.progress.task("isvit", 2 * steps) as task:
            if facts["stage"] == "activations":
                if not facts["done"]:
                    self._calibrate(model, images[: c.scale_images], context.bits)
                if c.stages == "three":
                    self._learn(model, images, context, facts, task)
                reparameterise(model, c.zero_point)
                _quantize_weights(model, context.bits)
                facts.update(stage="weights", done=0)
            else:
                task.advance(steps)
            self._learn(model, images, context, facts, task)
        context.notes["losses"] = facts["losses"]

    def _learn(self, model: QuantizedModel, images: Tensor, context: Context, facts: dict[str, Any], task: Task) -> None:
        """One stage: blocks read full precision while weights are in floating point, then the quantized network."""
        c, stage = self.config, facts["stage"]

        def finished(index: int, name: str, losses: list[float]) -> None:
            facts.update(done=index + 1, losses={**facts["losses"], f"{name} ({stage})": losses})
            context.checkpoint.block_done(model, dict(facts), {})

        learn_weights(
            model,
            images,
            context,
            Effort(c.iterations, c.batch, c.lr),
            task,
            stage=stage,
            segments=self._learned(model, context.bits, stage),
            inputs="full" if stage == "activations" else "quantized",
            done=facts["done"],
            finished=finished,
        )

    def _learned(self, model: QuantizedModel, bits: Bits, stage: str) -> set[int]:
        """The segments of a stage: none where nothing has a width, without those where nothing has and something could."""
        if stage == "weights":
            widths = {name: bits.at(model.sites[name]).weight for name in model.weights}
        else:
            widths = {site.name: bits.at(site).activation for site in self.config.placement.among(model)}
        quantized = {model.segment_of(name) for name, width in widths.items() if width < FLOAT_BITS}
        full = {model.segment_of(name) for name in widths} - quantized
        return set(range(len(model.segments))) - full if quantized else set()

    def _calibrate(self, model: QuantizedModel, images: Tensor, bits: Bits) -> None:
        """Activations, each on a network whose earlier ones are quantized already; weights are not."""
        placement = self.config.placement
        sites = {site.name: site for site in placement.among(model)}
        normed = {operation.operand for operations in inner_norms(model).values() for operation in operations}

        def watch(name: str, x: Tensor) -> None:
            if name in sites and placement.width(sites[name], bits) < FLOAT_BITS:
                width = placement.width(sites[name], bits)
                model.quantizers[name] = self._quantizer(sites[name], x, width, channelwise=name in normed)

        model.observe(images, watch, quantize=True)

    def _quantizer(self, site: Site, x: Tensor, bits: int, *, channelwise: bool) -> NumberFormat:
        if site.kind is Kind.SOFTMAX and self.config.softmax == "shift_log2":
            return shifted(x, bits, released=self.config.codes == "released")
        rows = channel_rows(x, x.ndim - 1) if channelwise else x.reshape(1, -1)
        spec = AffineSpec(bits, axis=x.ndim - 1 if channelwise else None)
        return from_free_range(spec, *percentile_search(rows, bits, FRACTIONS))


def shifted(x: Tensor, bits: int, *, released: bool = False) -> ShiftUniformLog2:
    """The shift-uniform-log2 quantizer with the least squared error among eleven shifts.

    Args:
        x: Attention probabilities.
        bits: Width of the codes.
        released: As in ``ShiftUniformLog2``; the release searches with ``2^bits`` codes all the same.
    """
    candidates = [ShiftUniformLog2.on(x, bits, shift) for shift in SHIFTS]
    errors = torch.stack([(x - one.quantize(x)).square_().mean() for one in candidates])
    return ShiftUniformLog2.on(x, bits, SHIFTS[int(errors.argmin())], released=released)


@torch.no_grad()
def _quantize_weights(model: QuantizedModel, bits: Bits) -> None:
    """Per output channel the percentile with the least squared error, of the weights learned so far."""
    for name in model.weights:
        width = bits.at(model.sites[name]).weight
        if width < FLOAT_BITS:
            ranges = percentile_search(weight_rows(model, name), width, WEIGHT_FRACTIONS)
            model.quantizers[name] = from_free_range(AffineSpec(width, axis=0), *ranges)
