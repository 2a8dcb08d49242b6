"""OMSE: ranges with the least squared quantization error (Choukroun et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from harness.data.sets import CalibrationSet
from harness.graph.sites import Place
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.method.settings import JOINED
from harness.quant.calibrate.installation import unrounded, weight_rows
from harness.quant.calibrate.observers import OmseObserver
from harness.quant.calibrate.placement import is_deployed
from harness.quant.calibrate.statistics import collect
from harness.quant.format.range_search import shrink_search
from harness.quant.format.uniform import Uniform
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class OmseConfig:
    """Settings of ``omse``."""

    targets: Annotated[Literal["both", "weights", "activations"], Field(description="which quantizers get new ranges")] = (
        "both"
    )
    granularity: Annotated[
        Literal["channel", "shared"],
        Field(description="weights: a shrink factor per output channel (paper) or one per tensor (released code)"),
    ] = "channel"
    symmetric: Annotated[
        Literal["auto", "keep"],
        Field(
            json_schema_extra=JOINED,
            description="symmetric codes: keep them so, or give them zero points of their own, as the released code does; "
            "auto keeps those of sites=deploy",
        ),
    ] = "auto"
    batch: Annotated[int, Field(ge=1, description="calibration images per batch; the last batch scores activations")] = 32


@register(
    "omse",
    role=Role.RANGE,
    needs=("scheme", "scales"),
    provides=("scales",),
    version=2,  # 2: errors summed in float64
    paper="Choukroun et al., Low-bit Quantization of Neural Networks for Efficient Inference, ICCV Workshops 2019",
)
class Omse(Method[OmseConfig]):
    """Shrink each range by 0 to 89 % and keep the factor with the least squared error."""

    Config = OmseConfig

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Search new ranges for the installed uniform quantizers; power-of-two and softmax quantizers stay."""
        keep = self.config.symmetric == "keep" or is_deployed(model)
        if self.config.targets != "activations":
            self._weights(model, context, keep=keep)
        if self.config.targets != "weights":
            self._activations(model, calibration, context, keep=keep)

    def _weights(self, model: QuantizedModel, context: Context, *, keep: bool) -> None:
        installed = ((name, model.quantizers.get(name)) for name in model.weights)
        uniform = {name: quantizer for name, quantizer in installed if isinstance(quantizer, Uniform)}
        unrounded(model, uniform, "omse")
        with context.progress.task("omse weights", len(uniform)) as task:
            for name in task.track(list(uniform)):
                symmetric = uniform[name].symmetric and keep
                quantizer = replace(uniform[name], symmetric=symmetric)
                rows = weight_rows(model, name)
                best = shrink_search(
                    rows,
                    *rows.aminmax(dim=1),
                    quantizer.bits,
                    signed=quantizer.signed,
                    shared=self.config.granularity == "shared",
                    symmetric=symmetric,
                    narrow=symmetric and quantizer.narrow_range,
                )
                model.quantizers[name] = quantizer.with_range(*best)

    def _activations(self, model: QuantizedModel, calibration: CalibrationSet, context: Context, *, keep: bool) -> None:
        observers = {
            name: OmseObserver(quantizer.spec, model.sites[name].axis, symmetric=keep)
            for name, quantizer in model.quantizers.items()
            if isinstance(quantizer, Uniform) and quantizer.axis is None and model.sites[name].place is not Place.PARAMETER
        }
        for observer in observers.values():
            observer.through_zero = is_deployed(model)
        batches = list(calibration.batches(self.config.batch))
        if observers:
            with context.progress.task("omse activations", len(batches)) as task:
                model.quantizers.update(collect(model, task.track(batches), observers))
