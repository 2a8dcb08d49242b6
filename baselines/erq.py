"""ERQ: ridge regression makes up for activation errors, then for weight errors half by half (Zhong et al., ICML 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.engines.layerwise import Visit, walk
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.format.affine import Affine
from harness.quant.format.arithmetic import channel_rows
from harness.quant.format.base import required
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class ErqConfig:
    """Settings of ``erq``."""

    images: Annotated[int, Field(ge=1, description="calibration images used; the paper uses 32")] = 32
    ridge: Annotated[
        float,
        Field(gt=0, description="regulariser as a share of the mean squared input (the released code: an absolute number)"),
    ] = 0.1
    activations: Annotated[bool, Field(description="first step: weights make up for activation errors (Aqer)")] = True
    weights: Annotated[bool, Field(description="second step: halves of the columns are rounded in turn (Wqer)")] = True
    inputs: Annotated[
        Literal["full", "quantized"],
        Field(description="what a layer reads: values of the full-precision network, or of the one quantized so far"),
    ] = "full"
    refinements: Annotated[int, Field(ge=0, description="single roundings flipped per output and half, at most")] = 100
    batch: Annotated[int, Field(ge=1, description="calibration images per pass")] = 32


@register(
    "erq",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=2,
    paper="Zhong et al., ERQ: Error Reduction for Post-Training Quantization of Vision Transformers, ICML 2024",
)
class Erq(Method[ErqConfig]):
    """Solve ridge regressions for the weights of linear operations, before and between roundings."""

    Config = ErqConfig

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Layer after layer in closed form, targets in full precision."""
        images = calibration.images[: self.config.images]
        context.notes["images_used"] = len(images)
        quantized = self.config.inputs == "quantized"
        visits = walk(model, images, context, batch=self.config.batch, full=True, quantized=quantized)
        with context.progress.task("erq", len(model.segments)) as task:
            for visit in task.track(visits):
                for operation in visit.operations:
                    if operation.weight.ndim == 2:
                        self._layer(visit, operation)

    def _layer(self, visit: Visit, operation: WeightedOperation) -> None:
        """Both steps for one operation.

        The inputs of this one operation, all tokens of all images in float64, are in memory together: the closed forms
        solve for them as one matrix.
        """
        model = visit.model
        exact = list(visit.reads(operation, quantize=False))
        quantizer = model.quantizers.get(operation.operand)
        if self.config.inputs == "quantized":
            inputs = _rows(visit.reads(operation, quantize=True))
        else:
            inputs = _rows(x if quantizer is None else quantizer(x) for x in exact)
        name, weight = operation.site.name, operation.present_weight
        rounding = required(Affine, model.quantizers[name], name, "erq")
        ridge = self.config.ridge * inputs.square().mean() * len(inputs)
        if self.config.activations:
            target = operation.function(_rows(exact).float(), weight, operation.shifted_bias()).double()
            bias = operation.shifted_bias()
            present = inputs @ weight.double().T + (0 if bias is None else bias.double())
            update, offset = ridge_update(inputs, target - present, ridge)
            weight = weight + update.T.to(weight.dtype)
            model.shift_bias(operation.node, offset.to(weight.dtype))
        if self.config.weights:
            rounded = round_halves(weight, rounding, inputs, ridge, self.config.refinements)
        else:
            rounded = rounding.quantize(weight)
        model.rounded_weights[name] = rounded


def ridge_update(inputs: Tensor, error: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """The change of weight and bias that lowers an output error: ``(A^T A + lambda I)^-1 A^T E`` (paper, Eq. 6).

    Args:
        inputs: ``(tokens, inputs)``, float64; a column of ones is added for the bias.
        error: What is missing in the outputs, ``(tokens, outputs)``.
        ridge: Regulariser of the weights; the bias has none.

    Returns:
        ``(inputs, outputs)`` and ``(outputs,)``.
    """
    extended = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
    gram = extended.T @ extended
    gram.diagonal()[:-1] += ridge
    solution = torch.linalg.solve(gram, extended.T @ error)
    return solution[:-1], solution[-1]


def round_halves(weight: Tensor, quantizer: Affine, inputs: Tensor, ridge: Tensor, refinements: int) -> Tensor:
    """Round half of the columns, let the others make up for it, and go on with their half (paper, Sec. 3.3).

    Args:
        weight: ``(outputs, inputs)``.
        quantizer: Its quantizer.
        inputs: ``(tokens, inputs)``, float64.
        ridge: Regulariser.
        refinements: Roundings flipped per output and half, at most.

    Returns:
        The weight on its quantizer's grid.
    """
    gram = inputs.T @ inputs
    remaining, done = weight.double(), 0
    result = torch.empty_like(remaining)
    while done < weight.shape[1]:
        left = weight.shape[1] - done
        half = slice(done, done + (left + 1) // 2)
        result[:, half] = _refined(remaining[:, half], quantizer, gram[half, half], refinements)
        change = remaining[:, half] - result[:, half]
        done = half.stop
        if done < weight.shape[1]:
            rest = gram[done:, done:].clone()
            rest.diagonal().add_(ridge)
            remaining[:, done:] += torch.linalg.solve(rest, gram[done:, half] @ change.T).T
    return result.to(weight.dtype)


def _refined(values: Tensor, quantizer: Affine, gram: Tensor, refinements: int) -> Tensor:
    """Round to nearest, then flip one rounding per output at a time while ``dW G dW^T`` falls."""
    scale = quantizer.scale.double().reshape(-1, 1)
    zero_point = quantizer.zero_point.double().reshape(-1, 1)
    low, high = quantizer.code_range
    position = values / scale + zero_point
    codes = position.round().clamp(low, high)
    for _ in range(refinements):
        change = (codes - position) * scale
        gradient = change @ gram
        step = torch.where(position > codes, 1.0, -1.0).expand_as(codes)  # the other neighbour of the exact position
        moved = (codes + step).clamp(low, high)
        step = (moved - codes) * scale
        gain = 2 * gradient * step + gram.diagonal() * step.square()  # change of the error by one flip
        gain[(moved - position).abs() > 1] = torch.inf
        best = gain.argmin(dim=1, keepdim=True)
        better = gain.gather(1, best) < -1e-12
        if not better.any():
            break
        codes = torch.where(better, codes.scatter(1, best, moved.gather(1, best)), codes)
    return (codes - zero_point) * scale


def _rows(found: Iterable[Tensor]) -> Tensor:
    """What was read, token by token, float64."""
    return torch.cat([channel_rows(x, x.ndim - 1).T.double() for x in found])
