"""FQ-ViT: a fully quantized vision transformer (Lin et al., IJCAI 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.data.sets import CalibrationSet
from harness.engines.levit_scheme import LevitRule
from harness.engines.placement_settings import Refused, ValueSites
from harness.errors import Problem
from harness.graph.operations import Kind
from harness.graph.sites import Site
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.method.settings import JOINED
from harness.quant.calibrate.installation import install_weight_ranges, named_observer, value_observers, value_sites
from harness.quant.calibrate.observers import Observer, PowerOfTwoObserver, RequantizingObserver
from harness.quant.calibrate.statistics import collect
from harness.quant.format.affine import Affine, AffineSpec
from harness.quant.format.log_int_softmax import LogIntSoftmax
from harness.quant.network.qmodel import QuantizedModel

LIS_BITS = 4
LEVIT = "levit"
NOTHING_LEFT = (
    "power-of-two factors belong to sums before a LayerNorm and Log-Int-Softmax to quantized scores; products read neither, "
    "so nothing of FQ-ViT would be left"
)
Switch = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class FqvitConfig:
    """Settings of ``fqvit``; the defaults are FQ-ViT as Evol-Q's experiments use it (PTF, no LIS)."""

    REFUSED: ClassVar[Refused] = {
        "sites": {name: Problem(NOTHING_LEFT, f"use minmax(sites={name})") for name in ("operands", "deploy")}
    }

    sites: ValueSites = "values"
    ptf: Annotated[bool, Field(description="power-of-two factors per channel on residual sums before a LayerNorm")] = True
    integer_layernorm: Annotated[Switch, Field(description="LayerNorm on integers; auto: exactly when ptf is on")] = "auto"
    layernorm_zero: Annotated[
        Literal["safe", "released"],
        Field(
            json_schema_extra=JOINED,
            description="an integer LayerNorm where all codes of a token are equal: safe gives the bias, as floating point "
            "does; released divides by zero, as the released code does. Other tokens are not concerned",
        ),
    ] = "safe"
    lis: Annotated[bool, Field(description="Log-Int-Softmax: attention probabilities as powers of two (4 bits)")] = False
    lis_calibration: Annotated[
        Literal["float", "release"],
        Field(description="release: LIS already acts in the last calibration batch, as in the released code"),
    ] = "float"
    weights: Annotated[
        Literal["asymmetric", "symmetric"],
        Field(description="codes of weights: unsigned with zero points (Evol-Q's runs) or signed (FQ-ViT's int8)"),
    ] = "asymmetric"
    narrow_range: Annotated[
        bool, Field(description="symmetric weights without the most negative code (Evol-Q paper, Eq. 1)")
    ] = False
    observer: Annotated[
        Literal["minmax", "ema", "percentile", "omse"], Field(description="how activation ranges are found")
    ] = "minmax"
    image: Annotated[
        Switch, Field(description="quantize the input image; auto: yes for DeiT, Swin and CNNs, no for ViT and LeViT")
    ] = "auto"
    levit: Annotated[
        Literal["rule", "release"],
        Field(
            json_schema_extra=JOINED,
            description="sites of a LeViT: FQ-ViT's rule over every operation, or those of Evol-Q's released code (scales "
            "of their own for queries, keys and values, power-of-two factors in the stem); nothing else is concerned",
        ),
    ] = "rule"
    batch: Annotated[int, Field(ge=1, description="calibration images per batch; the last batch scores PTF factors")] = 32


@register(
    "fqvit",
    role=Role.SCHEME,
    provides=("scheme", "scales"),
    version=1,
    paper="Lin et al., FQ-ViT: Post-Training Quantization for Fully Quantized Vision Transformer, IJCAI 2022",
)
class Fqvit(Method[FqvitConfig]):
    """Quantize the output of every arithmetic operation; PTF before LayerNorm, integer LayerNorm, optional LIS."""

    Config = FqvitConfig

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Install weight quantizers, then calibrate all activations in one pass over the calibration images."""
        config, bits = self.config, context.bits
        symmetric = config.weights == "symmetric"
        install_weight_ranges(model, bits, symmetric=symmetric, narrow=config.narrow_range)
        levit = LevitRule(model) if config.levit == "release" and model.name.startswith(LEVIT) else None
        sites = value_sites(model, image=self._quantizes_image(model)) if levit is None else levit.sites()
        observers = value_observers(sites, bits, lambda spec, site: self._observer(spec, site, levit))
        for site in sites:
            if config.lis and site.kind is Kind.SOFTMAX and site.name in observers:
                del observers[site.name]
                model.quantizers[site.name] = LogIntSoftmax.on(model.device, bits.at(site).attention or LIS_BITS)
        batches = list(calibration.batches(config.batch))
        with context.progress.task("calibrate", len(batches)) as task:
            live = config.lis and config.lis_calibration == "release"
            proposals = collect(model, task.track(batches), observers, live_softmax=live)
        model.quantizers.update(proposals)
        if config.integer_layernorm == "on" or (config.integer_layernorm == "auto" and config.ptf):
            norms = [node for node in model.layer_norms if _fits_integers(model, node)]
            model.integer_norms.update(norms)
            model.undefined_norms.update(norms if config.layernorm_zero == "released" else ())

    def _observer(self, spec: AffineSpec, site: Site, levit: LevitRule | None) -> Observer:
        plain = named_observer(self.config.observer)(spec, site)
        if not self.config.ptf or not (takes_power_of_two(site) if levit is None else levit.has_factors(site)):
            return plain
        if levit is not None and levit.is_requantized(site):
            return RequantizingObserver(spec, site.axis, plain)
        return PowerOfTwoObserver(spec, site.axis)

    def _quantizes_image(self, model: QuantizedModel) -> bool:
        if self.config.image == "auto":
            return not model.name.startswith(("vit_", LEVIT))
        return self.config.image == "on"


def _fits_integers(model: QuantizedModel, node: str) -> bool:
    """Whether a LayerNorm can run on integers: over one axis, with a gain and an offset, a scale of its own per channel."""
    norm, before = model.chain.norms[node], model.quantizers.get(model.layer_norms[node][0])
    if norm.weight is None or norm.bias is None or norm.weight.ndim != 1:
        return False
    return not isinstance(before, Affine) or norm.weight.numel() % before.scale.numel() == 0


def takes_power_of_two(site: Site) -> bool:
    """Whether FQ-ViT gives the site power-of-two factors: the residual stream where it is summed or re-projected.

    These are residual sums, the sum with the position embedding, and linear outputs that a LayerNorm reads (patch
    merging); the patch embedding's convolution keeps one scale.
    """
    if site.kind is Kind.ADD:
        return not site.attention and bool(site.feeds) and (site.residual or Kind.LAYER_NORM in site.feeds)
    return site.kind is Kind.LINEAR and Kind.LAYER_NORM in site.feeds
