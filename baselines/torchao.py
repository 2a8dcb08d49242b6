"""torchao: weight-only quantization by round-to-nearest, as that library does it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated

import torch
from pydantic import Field
from torchao.quantization import IntxWeightOnlyConfig, quantize_
from torchao.quantization.granularity import PerAxis, PerGroup

from harness.data.sets import CalibrationSet
from harness.errors import IncompatibleError
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.network.external import External, ExternalSite
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import FULL, Bits


@dataclass(frozen=True)
class TorchaoConfig:
    """Settings of ``torchao``."""

    group: Annotated[
        int, Field(ge=0, description="input channels that share a scale, 32 or more; 0: one scale per output channel")
    ] = 0


@register("torchao", role=Role.SCHEME, version=1, extra="torchao", paper="torchao, IntxWeightOnlyConfig")
class Torchao(Method[TorchaoConfig]):
    """Weights of linear layers rounded to nearest by torchao; activations and convolutions stay in floating point."""

    Config = TorchaoConfig

    def check_bits(self, bits: Bits) -> None:
        """Weight-only: activations have 32 bits."""
        if not bits.uniform:
            raise IncompatibleError(f"torchao has one width for all weights, asked for {bits}", f"use --bits {bits.base}")
        if (bits.activation, bits.softmax) != (FULL, FULL):
            raise IncompatibleError(f"torchao quantizes weights only, asked for {bits}", f"use --bits w{bits.weight}a32")

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Needs no images."""
        if context.bits.weight == FULL:
            return
        assert model.network is not None
        network = copy.deepcopy(model.network).to(model.device)
        granularity = PerGroup(self.config.group) if self.config.group else PerAxis(0)
        dtype = getattr(torch, f"int{context.bits.weight}")
        quantize_(network, IntxWeightOnlyConfig(weight_dtype=dtype, granularity=granularity))
        sites, weights = {}, {}
        for name, module in network.named_modules():
            weight = getattr(module, "weight", None)
            if not hasattr(weight, "qdata"):
                continue
            assert weight is not None
            kind = "group" if self.config.group else "channel"
            sites[f"{name}.weight"] = ExternalSite(context.bits.weight, kind, weight.scale.numel())
            weights[f"{name}.weight"] = weight.dequantize()
        model.external = External(f"torchao {version('torchao')}", network, sites, weights)
        context.notes.update(library=model.external.library, layers=len(sites))
