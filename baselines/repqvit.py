"""RepQ-ViT: complex quantizers for calibration, simple ones afterwards (Li et al., ICCV 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.baselines.engines.calibration_images import first_images
from harness.baselines.engines.reparameterisation import FRACTIONS, ZeroPoint, reparameterise
from harness.data.sets import CalibrationSet
from harness.engines.placement_settings import (
    NO_VALUES,
    AttentionProducts,
    Implies,
    OperandSites,
    PlacedOperands,
    Refused,
    operands_or_deploy,
)
from harness.graph.operations import Kind
from harness.graph.sites import Site
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.method.settings import JOINED
from harness.quant.calibrate.installation import FLOAT_BITS, weight_rows
from harness.quant.format.affine import AffineSpec
from harness.quant.format.arithmetic import channel_rows
from harness.quant.format.base import NumberFormat
from harness.quant.format.log_sqrt2 import LogSqrt2, log_sqrt2
from harness.quant.format.range_search import outer_quantiles, percentile_search
from harness.quant.format.uniform import from_free_range, from_range
from harness.quant.network.operands import inner_norms
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import Bits


@dataclass(frozen=True)
class RepqvitConfig(PlacedOperands):
    """Settings of ``repqvit``."""

    IMPLIES: ClassVar[Implies] = operands_or_deploy(zero_point="rounded", softmax="uniform", reparameterise=True)
    REFUSED: ClassVar[Refused] = NO_VALUES

    sites: OperandSites = "operands"
    attention: AttentionProducts = False
    images: Annotated[int, Field(ge=1, description="calibration images used, in one batch; the paper uses 32")] = 32
    reparameterise: Annotated[
        bool, Field(description="turn channel-wise LayerNorm outputs into layer-wise ones; false keeps them channel-wise")
    ] = True
    zero_point: Annotated[
        ZeroPoint,
        Field(
            description="mean zero points: fractions, added to rounded codes as in the released code, or before "
            "rounding as the paper's equality needs (both off the grid), or rounded"
        ),
    ] = "released"
    softmax: Annotated[
        Literal["log_sqrt2", "uniform"], Field(description="attention probabilities: powers of the root of two, or uniform")
    ] = "log_sqrt2"
    image_bits: Annotated[int, Field(ge=4, le=8, description="width of the input image")] = 8
    image: Annotated[
        Literal["quantized", "full"],
        Field(description="the input image: quantized, or as it is, as in ERQ's released code", json_schema_extra=JOINED),
    ] = "quantized"
    inputs: Annotated[
        Literal["quantized", "activations", "full"],
        Field(
            description="what quantizers are calibrated on: values of the network quantized so far, as in the released "
            "code; of one with full-precision weights, as in ERQ's; or of the full-precision network"
        ),
    ] = "quantized"


@register(
    "repqvit",
    role=Role.SCHEME,
    provides=("scheme", "scales"),
    version=2,
    paper="Li et al., RepQ-ViT: Scale Reparameterization for Post-Training Quantization of Vision Transformers, ICCV 2023",
)
class Repqvit(Method[RepqvitConfig]):
    """Quantize operands; LayerNorm outputs by channel, then reparameterised to one scale; log-sqrt2 attention."""

    Config = RepqvitConfig

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """One pass over the images, then the reparameterisation in closed form."""
        bits, inputs, placement = context.bits, self.config.inputs, self.config.placement
        if inputs != "activations":
            self._weights(model, list(model.weights), bits)
        sites = {site.name: site for site in placement.among(model)}
        normed = {operation.operand for operations in inner_norms(model).values() for operation in operations}
        images = first_images(calibration, self.config.images, context)

        with context.progress.task("calibrate", len(sites)) as task:

            def watch(name: str, x: Tensor) -> None:
                if name in sites:
                    width = placement.width(sites[name], bits, self.config.image_bits)
                    if width < FLOAT_BITS:
                        model.quantizers[name] = self._quantizer(sites[name], x, width, channelwise=name in normed)
                    task.advance()

            # A quantizer acts as soon as it is there: what is read later has its errors.
            model.observe(images, watch, quantize=inputs != "full")
        if inputs == "activations":
            self._weights(model, list(model.weights), bits)
        if self.config.reparameterise:
            norms = reparameterise(model, self.config.zero_point, clamped=placement.deployed)
            self._weights(model, [one.site.name for operations in norms for one in operations], bits)
            context.notes["reparameterised_norms"] = len(norms)

    @torch.no_grad()
    def _weights(self, model: QuantizedModel, names: list[str], bits: Bits) -> None:
        """Per output channel the percentile with the least squared error."""
        for name in names:
            width = bits.at(model.sites[name]).weight
            if width < FLOAT_BITS:
                spec = self.config.placement.weight_spec(width) if self.config.placement.deployed else None
                model.quantizers[name] = _by_percentile(weight_rows(model, name), AffineSpec(width, axis=0), spec)

    def _quantizer(self, site: Site, x: Tensor, bits: int, *, channelwise: bool) -> NumberFormat:
        if site.kind is Kind.SOFTMAX and self.config.softmax == "log_sqrt2":
            return _log_sqrt2(x, bits)
        if channelwise:  # until the reparameterisation
            return _by_percentile(channel_rows(x, x.ndim - 1), AffineSpec(bits, axis=x.ndim - 1))
        spec = self.config.placement.activation_spec(bits) if self.config.placement.deployed else None
        return _by_percentile(x.reshape(1, -1), AffineSpec(bits), spec)


def _by_percentile(rows: Tensor, free: AffineSpec, spec: AffineSpec | None = None) -> NumberFormat:
    """The percentile with the least squared error: of zero points that need not be codes, or of another format."""
    ranges = percentile_search(rows, free.bits, FRACTIONS, spec)
    return from_free_range(free, *ranges) if spec is None else from_range(spec, *ranges)


def _log_sqrt2(x: Tensor, bits: int) -> NumberFormat:
    """The largest value is the percentile with the least squared error."""
    candidates = [high for _, high in outer_quantiles(x.reshape(1, -1), FRACTIONS)]
    errors = torch.stack([(x - log_sqrt2(x, scale, bits)).square().mean() for scale in candidates])
    scale = torch.cat(candidates)[errors.argmin()].reshape(1)
    return LogSqrt2(bits, scale, torch.zeros_like(scale), scale)
