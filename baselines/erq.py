"""ERQ: ridge regression makes up for activation errors, then for weight errors half by half (Zhong et al., ICML 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.baselines.engines.calibration_images import first_images
from harness.baselines.engines.ridge_rounding import Moments, Refinement, ridge_update, round_halves
from harness.data.sets import CalibrationSet
from harness.engines.layerwise import Visit, walk
from harness.graph.operations import Kind
from harness.machine.memory import Kept
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.format.affine import Affine
from harness.quant.format.arithmetic import channel_rows
from harness.quant.format.base import required
from harness.quant.format.range_search import percentile_search
from harness.quant.format.uniform import Uniform, from_free_range
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel

# Candidates for the ranges of the updated weights in the released code.
FRACTIONS = (0.97, 0.98, 0.99, 0.995, 0.9995, 0.9997, 0.9999, 0.99995, 0.99999, 1.0)
CONVOLUTION = 10  # convolutions have so many times the ridge, as released


@dataclass(frozen=True)
class ErqConfig:
    """Settings of ``erq``; its authors put it on RepQ-ViT's activation quantizers."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "exact": {"ridge": 0.1, "ridge_form": "share", "refit": False, "refinement": "exact"},
    }

    preset: Annotated[
        Literal["paper", "exact"],
        Field(
            description="paper: the released code; exact (ours): a ridge of 0.1 of the mean squared input, the "
            "scheme's weight ranges, and the best flip at each refinement"
        ),
    ] = "paper"
    images: Annotated[int, Field(ge=1, description="calibration images used; the paper uses 32")] = 32
    ridge: Annotated[
        float, Field(gt=0, description="regulariser; the released command for 32 images has coe=10000, which is 1000")
    ] = 1000.0
    ridge_form: Annotated[
        Literal["absolute", "share"],
        Field(description="added to the sums of squares over all tokens, or a share of their mean (ours)"),
    ] = "absolute"
    head_ridge: Annotated[
        float, Field(gt=0, description="absolute: regulariser of the classifier's first step; its second has the others'")
    ] = 0.1
    activations: Annotated[bool, Field(description="first step: weights make up for activation errors (Aqer)")] = True
    refit: Annotated[
        bool, Field(description="between the steps the ranges of weights are searched again, out of ten percentiles")
    ] = True
    weights: Annotated[bool, Field(description="second step: halves of the columns are rounded in turn (Wqer)")] = True
    inputs: Annotated[
        Literal["full", "quantized"],
        Field(
            description="what a layer reads: values of the full-precision network (released), or of the one quantized so far"
        ),
    ] = "full"
    refinement: Annotated[
        Refinement,
        Field(description="single roundings of a half are flipped by the sign of their gradient, or the best one (ours)"),
    ] = "released"
    refinements: Annotated[int, Field(ge=0, description="steps of that per half, at most")] = 100
    batch: Annotated[int, Field(ge=1, description="calibration images per pass")] = 32


@register(
    "erq",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=5,
    paper="Zhong et al., ERQ: Error Reduction for Post-Training Quantization of Vision Transformers, ICML 2024",
)
class Erq(Method[ErqConfig]):
    """Solve ridge regressions for weights and biases, before and between roundings."""

    Config = ErqConfig

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Layer after layer in closed form, targets in full precision."""
        images = first_images(calibration, self.config.images, context)
        quantized = self.config.inputs == "quantized"
        visits = walk(model, images, context, batch=self.config.batch, full=True, quantized=quantized)
        with context.progress.task("erq", len(model.segments)) as task:
            for visit in task.track(visits):
                operations = [operation for operation in visit.operations if not _grouped(visit, operation)]
                # Before any bias of the segment moves: full-precision weights with a bias for quantized ones are no network.
                exact = {one.site.name: context.budget.keep(_copied(visit, one)) for one in operations}
                for operation in operations:
                    self._layer(visit, operation, exact.pop(operation.site.name))

    def _layer(self, visit: Visit, operation: WeightedOperation, exact: Kept) -> None:
        """Both steps for one operation; of its inputs only sums of products are in memory together."""
        model, name = visit.model, operation.site.name
        present, bias = operation.present_weight, operation.transformed_bias()
        weight = present.flatten(1).double()
        last = torch.zeros_like(weight[:, 0]) if bias is None else bias.double()
        weight = torch.cat([weight, last[:, None]], dim=1)
        moments = Moments.of(self._rows(visit, operation, exact))
        if self.config.activations and model.sites[operation.operand].kind is not Kind.INPUT:
            weight += ridge_update(moments, weight, self._ridge(visit, operation, moments, first=True))
        quantizer = self._quantizer(model, operation, weight[:, :-1])
        if self.config.weights:
            c, ridge = self.config, self._ridge(visit, operation, moments, first=False)
            flips = 0 if present.ndim > 2 else c.refinements  # the released code refines linear operations only
            rounded, shifted = round_halves(weight, quantizer, moments, ridge, c.refinement, flips)
        else:
            rounded, shifted = weight[:, :-1], weight[:, -1]
        model.rounded_weights[name] = quantizer.quantize(rounded.to(present.dtype).reshape(present.shape))
        # In the place of corrections by earlier steps.
        shift, transform = (shifted - last).to(present.dtype), model.transform_shifts.get(operation.node)
        model.bias_shifts[operation.node] = shift if transform is None else transform + shift

    def _ridge(self, visit: Visit, operation: WeightedOperation, moments: Moments, *, first: bool) -> float:
        """The regulariser of a step."""
        read = visit.model.sites[operation.operand]
        if self.config.ridge_form == "share":
            return float(self.config.ridge * moments.gram.diagonal()[:-1].mean())
        if operation.weight.ndim > 2:
            return self.config.ridge * (1 if first else CONVOLUTION)
        pooled = read.elements == read.channels  # one row for each image: the classifier
        return self.config.head_ridge if first and pooled else self.config.ridge

    def _quantizer(self, model: QuantizedModel, operation: WeightedOperation, weight: Tensor) -> Affine:
        """The weight's quantizer, with ranges of the updated weight."""
        name = operation.site.name
        quantizer = required(Affine, model.quantizers[name], name, "erq")
        if self.config.refit and isinstance(quantizer, Uniform) and quantizer.axis == 0 and not quantizer.symmetric:
            ranges = percentile_search(weight.to(operation.weight.dtype), quantizer.bits, FRACTIONS)
            quantizer = replace(from_free_range(quantizer.spec, *ranges), correction=quantizer.correction)
            model.quantizers[name] = quantizer
        return quantizer

    def _rows(self, visit: Visit, operation: WeightedOperation, exact: Kept) -> Iterator[tuple[Tensor, Tensor]]:
        """What the operation reads after its quantizer, and what it gives in full precision, token by token."""
        quantizer = visit.model.quantizers.get(operation.operand)
        weight, bias = operation.present_weight, operation.transformed_bias()
        other = visit.reads(operation, quantize=True) if self.config.inputs == "quantized" else None
        for x in exact:
            read = (x if quantizer is None else quantizer(x)) if other is None else next(other)
            yield _patches(operation, read), _tokens(operation, operation.function(x, weight, bias))


def _copied(visit: Visit, operation: WeightedOperation) -> Iterator[Tensor]:
    """What the operation reads in full precision; copies, since taps reuse the memory of values."""
    return (x.clone() for x in visit.reads(operation, quantize=False))


def _grouped(visit: Visit, operation: WeightedOperation) -> bool:
    """Whether a convolution reads its channels in groups: its patches are no rows of one matrix."""
    return operation.weight.ndim > 2 and operation.weight.shape[1] != visit.model.sites[operation.operand].channels


def _patches(operation: WeightedOperation, x: Tensor) -> Tensor:
    """What each output number is computed from, ``(tokens, inputs)``; for a convolution its patches."""
    if operation.weight.ndim == 2:
        return channel_rows(x, x.ndim - 1).T
    size = operation.weight[0].numel()
    each = torch.eye(size, dtype=x.dtype, device=x.device).reshape(size, *operation.weight.shape[1:])
    return _tokens(operation, operation.function(x, each, None))  # a filter for each entry of a patch


def _tokens(operation: WeightedOperation, output: Tensor) -> Tensor:
    """An output with its channels last, ``(tokens, outputs)``."""
    return channel_rows(output, 1 if operation.weight.ndim > 2 else output.ndim - 1).T
