"""Brevitas: layer-wise quantization with GPTQ and bias correction, as that library does it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any, Literal

import torch
from brevitas import nn as qnn
from brevitas.graph.calibrate import bias_correction_mode, calibration_mode
from brevitas.graph.gptq import gptq_mode
from brevitas.graph.quantize import layerwise_quantize
from brevitas.quant.scaled_int import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerChannelFloatMSE,
)
from brevitas.quant.shifted_scaled_int import ShiftedUint8ActPerTensorFloat
from pydantic import Field
from torch import nn

from harness.data.sets import CalibrationSet
from harness.errors import IncompatibleError
from harness.machine.progress import Task
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.network.external import External, ExternalSite
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import FULL, Bits

LAYERS = {nn.Linear: (qnn.QuantLinear, "linear"), nn.Conv2d: (qnn.QuantConv2d, "conv")}


@dataclass(frozen=True)
class BrevitasConfig:
    """Settings of ``brevitas``."""

    gptq: Annotated[bool, Field(description="round weights by GPTQ, else to nearest")] = True
    bias_correction: Annotated[bool, Field(description="correct biases empirically")] = True
    weights: Annotated[
        Literal["mse", "max"], Field(description="weight scales by least squared error, or by the largest value")
    ] = "mse"
    inputs: Annotated[
        Literal["asymmetric", "symmetric"], Field(description="codes of what layers read; ranges by percentile")
    ] = "asymmetric"
    batch: Annotated[int, Field(ge=1, description="images per pass")] = 32


@register("brevitas", role=Role.SCHEME, version=1, extra="brevitas", paper="Brevitas: GPTQ, bias correction")
class Brevitas(Method[BrevitasConfig]):
    """Convolutions and linear layers quantized by Brevitas; attention's products stay in floating point."""

    Config = BrevitasConfig

    def check_bits(self, bits: Bits) -> None:
        """One width for all activations."""
        if not bits.uniform:
            raise IncompatibleError(
                f"brevitas has one width for all activations and one for all weights, asked for {bits}",
                f"use --bits {bits.base}",
            )
        if bits.softmax != bits.activation:
            raise IncompatibleError(
                f"brevitas quantizes no attention probabilities, asked for {bits}",
                f"use --bits w{bits.weight}a{bits.activation}",
            )

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Ranges of what layers read, then GPTQ, then bias correction, each with all calibration images."""
        if context.bits.full_precision:
            return
        assert model.network is not None
        network = copy.deepcopy(model.network).to(model.device).eval()
        network = layerwise_quantize(
            network, {layer: (new, self._options(context.bits)) for layer, (new, _) in LAYERS.items()}
        )
        network.to(model.device).eval()
        batches = list(calibration.batches(self.config.batch))
        with context.progress.task("brevitas", 0) as task:
            if context.bits.activation != FULL:
                with calibration_mode(network):
                    _pass(network, batches)
            _pass(network, batches[:1])  # weight quantizers get their scales when they are first used
            if self.config.gptq and context.bits.weight != FULL:
                _gptq(network, batches, task)
            if self.config.bias_correction:
                with bias_correction_mode(network):
                    _pass(network, batches)
        model.external = _described(model, network, context.bits)
        context.notes.update(library=model.external.library, layers=len(model.external.weights))

    def _options(self, bits: Bits) -> dict[str, Any]:
        options: dict[str, Any] = {"return_quant_tensor": False}
        weight = Int8WeightPerChannelFloatMSE if self.config.weights == "mse" else Int8WeightPerChannelFloat
        inputs = ShiftedUint8ActPerTensorFloat if self.config.inputs == "asymmetric" else Int8ActPerTensorFloat
        options |= (
            {"weight_quant": None} if bits.weight == FULL else {"weight_quant": weight, "weight_bit_width": bits.weight}
        )
        options |= (
            {"input_quant": None} if bits.activation == FULL else {"input_quant": inputs, "input_bit_width": bits.activation}
        )
        return options


def _pass(network: nn.Module, batches: list[torch.Tensor]) -> None:
    for images in batches:
        network(images)


def _gptq(network: nn.Module, batches: list[torch.Tensor], task: Task) -> None:
    with gptq_mode(network, use_quant_activations=True) as gptq:
        for _ in range(gptq.num_layers):
            _pass(gptq.model, batches)
            gptq.update()
            task.advance()


def _described(model: QuantizedModel, network: nn.Module, bits: Bits) -> External:
    sites, weights = {}, {}
    for name, module in network.named_modules():
        kind = next((kind for new, kind in LAYERS.values() if isinstance(module, new)), None)
        if kind is None:
            continue
        if bits.weight != FULL:
            weight: Any = module.quant_weight()
            sites[f"{name}.weight"] = ExternalSite(bits.weight, "channel", len(weight.value))
            weights[f"{name}.weight"] = weight.value.detach()
        if bits.activation != FULL:
            sites[f"{name}:{kind}[x]"] = ExternalSite(bits.activation, "tensor", 1, 1)
    known = {name: site for name, site in sites.items() if name in model.sites}
    return External(f"brevitas {version('brevitas')}", network, known, {n: w for n, w in weights.items() if n in known})
