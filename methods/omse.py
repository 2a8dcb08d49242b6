"""OMSE: ranges with the least squared quantization error (Choukroun et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from harness.data.sets import CalibrationSet
from harness.graph.sites import Place
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.calibrate.installation import unrounded, weight_rows
from harness.quant.calibrate.observers import OmseObserver
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
        if self.config.targets != "activations":
            self._weights(model, context)
        if self.config.targets != "weights":
            self._activations(model, calibration, context)

    def _weights(self, model: QuantizedModel, context: Context) -> None:
        installed = ((name, model.quantizers.get(name)) for name in model.weights)
        uniform = {name: quantizer for name, quantizer in installed if isinstance(quantizer, Uniform)}
        unrounded(model, uniform, "omse")
        with context.progress.task("omse weights", len(uniform)) as task:
            for name in task.track(list(uniform)):
                quantizer = replace(uniform[name], symmetric=False)
                rows = weight_rows(model, name)
                low, high = rows.aminmax(dim=1)
                shared = self.config.granularity == "shared"
                best = shrink_search(rows, low, high, quantizer.bits, signed=quantizer.signed, shared=shared)
                model.quantizers[name] = quantizer.with_range(*best)

    def _activations(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        observers = {
            name: OmseObserver(quantizer.spec, model.sites[name].axis)
            for name, quantizer in model.quantizers.items()
            if isinstance(quantizer, Uniform) and quantizer.axis is None and model.sites[name].place is not Place.PARAMETER
        }
        batches = list(calibration.batches(self.config.batch))
        if observers:
            with context.progress.task("omse activations", len(batches)) as task:
                model.quantizers.update(collect(model, task.track(batches), observers))
