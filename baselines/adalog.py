"""AdaLog: logarithms of an adapted base after softmax and GELU, uniform quantizers elsewhere (Wu et al., ECCV 2024)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.baselines.engines.quantizer_spaces import Centre, SearchEffort, Space, logarithmic_space, uniform_space
from harness.baselines.engines.reparameterisation import FRACTIONS, ZeroPoint, reparameterise
from harness.baselines.engines.segment_operations import Operation, operations_of, output_of
from harness.data.sets import CalibrationSet
from harness.engines.layerwise import SegmentInputs
from harness.graph.operations import Kind
from harness.graph.sites import Place
from harness.machine.memory import Kept
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.calibrate.installation import FLOAT_BITS, weight_rows
from harness.quant.format.affine import AffineSpec
from harness.quant.format.arithmetic import channel_rows
from harness.quant.format.base import NumberFormat
from harness.quant.format.range_search import percentile_search
from harness.quant.format.uniform import from_range
from harness.quant.network.operands import inner_norms, operand_bits
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import Bits

HEADS = 1  # axis of the heads in attention's products


@dataclass(frozen=True)
class AdalogConfig:
    """Settings of ``adalog``."""

    images: Annotated[int, Field(ge=1, description="calibration images used, in one batch; the paper uses 32")] = 32
    candidates: Annotated[int, Field(ge=32, description="candidates per step of a search")] = 128
    keep: Annotated[int, Field(ge=1, description="best candidates that the next step looks around")] = 16
    steps: Annotated[int, Field(ge=1, description="steps from coarse to fine")] = 6
    rounds: Annotated[int, Field(ge=1, description="how often weights and operands take turns")] = 3
    reparameterise: Annotated[
        Literal["equal_bits", "always", "never"],
        Field(
            description="RepQ-ViT's reparameterisation of LayerNorm outputs: as released when weights and activations "
            "have the same width, or otherwise"
        ),
    ] = "equal_bits"
    zero_point: Annotated[
        ZeroPoint, Field(description="mean zero points of reparameterised norms: fractions as released, or rounded")
    ] = "released"
    zero_points: Annotated[
        Centre,
        Field(description="zero points tried: around that of the min-max range, or around the middle code as released"),
    ] = "range"


@register(
    "adalog",
    role=Role.SCHEME,
    provides=("scheme", "scales"),
    version=1,
    paper="Wu et al., AdaLog: Post-Training Quantization for Vision Transformers with Adaptive Logarithm Quantizer, "
    "ECCV 2024",
)
class Adalog(Method[AdalogConfig]):
    """Search scales, zero points and logarithm bases from coarse to fine by the squared error of each layer's output."""

    Config = AdalogConfig
    quick: ClassVar[Mapping[str, Any]] = {"candidates": 32, "steps": 2, "rounds": 1}

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Layers see full-precision inputs; weights and operands take turns.

        What segments, and the operations of one segment, read is kept within the context's budget. The inputs and the
        output of the one operation that is searched are in memory together: an error adds up all images at once.
        """
        images = calibration.images[: self.config.images]
        context.notes["images_used"] = len(images)
        fixed = self._reparameterised(model, images, context)
        total = sum(len(operations_of(segment.module)) for segment in model.segments)
        operands: dict[str, Kept] = {}
        watch = _keeping_operands(model, operands, context)
        # Values as quantizers will see them: those of the full-precision network with its norms reparameterised.
        inputs = SegmentInputs(
            lambda x, start, stop: model.observe(x, watch, start=start, stop=stop), [images], context.budget
        )
        with context.progress.task("adalog", total) as task:
            for index, segment in enumerate(model.segments):
                operands.clear()
                inputs.advance(index)  # the forward pass in which the operands are watched
                for operation in operations_of(segment.module).values():
                    _LayerSearch(model, operation, operands, context.bits, self.config).run(fixed)
                    task.advance()

    def _reparameterised(self, model: QuantizedModel, images: Tensor, context: Context) -> set[str]:
        """Reparameterise norms; returns the operands whose quantizers are settled by that."""
        bits, when = context.bits, self.config.reparameterise
        if when == "never" or (when == "equal_bits" and bits.weight != bits.activation) or bits.activation >= FLOAT_BITS:
            return set()
        names = {operation.operand for operations in inner_norms(model).values() for operation in operations}

        def watch(name: str, x: Tensor) -> None:
            if name in names:
                ranges = percentile_search(channel_rows(x, x.ndim - 1), bits.activation, FRACTIONS)
                model.quantizers[name] = from_range(AffineSpec(bits.activation, axis=x.ndim - 1), *ranges)

        model.observe(images, watch)
        context.notes["reparameterised_norms"] = len(reparameterise(model, self.config.zero_point))
        return names


def _keeping_operands(model: QuantizedModel, found: dict[str, Kept], context: Context) -> Callable[[str, Tensor], None]:
    def watch(name: str, x: Tensor) -> None:
        if model.sites[name].place is Place.OPERAND:
            found[name] = context.budget.keep([x.clone()])  # taps reuse the memory of values

    return watch


class _LayerSearch:
    """The searches of one convolution, linear operation or matrix product."""

    def __init__(
        self, model: QuantizedModel, operation: Operation, operands: dict[str, Kept], bits: Bits, config: AdalogConfig
    ) -> None:
        self.model = model
        self.operation = operation
        self.bits = bits
        self.config = config
        self.effort = SearchEffort(config.candidates, config.keep, config.steps)
        if isinstance(operation, WeightedOperation):
            names = [operation.operand]
        else:
            names = [operation.left.name, operation.right.name]
        self.inputs = {name: operands[name][0] for name in names}
        self.target = output_of(model, operation, list(self.inputs.values()), quantize=False)

    def run(self, fixed: set[str]) -> None:
        """Install quantizers and search them in turn, weights first.

        Args:
            fixed: Operands whose quantizers stay as they are.
        """
        spaces: dict[str, Space] = {}
        operation = self.operation
        if isinstance(operation, WeightedOperation) and self.bits.weight < FLOAT_BITS:
            spec, rows = AffineSpec(self.bits.weight, axis=0), weight_rows(self.model, operation.site.name)
            spaces[operation.site.name] = uniform_space(rows, spec, self.effort, self.config.zero_points)
        for name, x in self.inputs.items():
            width = operand_bits(self.model.sites[name], self.bits)
            if width < FLOAT_BITS and name not in fixed:
                spaces[name] = self._operand_space(name, x, width)
        self.model.quantizers.update({name: space.start for name, space in spaces.items()})
        for _ in range(self.config.rounds):
            for name, space in spaces.items():
                error = self._weight_error if name not in self.inputs else self._operand_error
                self.model.quantizers[name] = space.search(error(name), self.effort)

    def _operand_space(self, name: str, x: Tensor, bits: int) -> Space:
        site = self.model.sites[name]
        if site.kind is Kind.SOFTMAX or site.function == "gelu":
            return logarithmic_space(x, bits, self.effort, probabilities=site.kind is Kind.SOFTMAX)
        heads = self._by_head(x)
        rows = channel_rows(x, HEADS) if heads else x.reshape(1, -1)
        return uniform_space(rows, AffineSpec(bits, axis=HEADS if heads else None), self.effort, self.config.zero_points)

    def _by_head(self, x: Tensor) -> bool:
        """Whether an operand gets one scale per head: those of products ``(n, heads, tokens, channels)``."""
        return not isinstance(self.operation, WeightedOperation) and x.ndim == 4

    def _operand_error(self, name: str) -> Callable[[NumberFormat], Tensor]:
        """Squared output error of the whole operation, or of each head."""
        inputs = list(self.inputs.values())

        def error(quantizer: NumberFormat) -> Tensor:
            self.model.quantizers[name] = quantizer
            rest = (output_of(self.model, self.operation, inputs) - self.target).square_()
            if quantizer.axis is None:
                return rest.sum(dtype=torch.float64).reshape(1)
            return channel_rows(rest, HEADS).sum(dim=1, dtype=torch.float64)

        return error

    def _weight_error(self, name: str) -> Callable[[NumberFormat], Tensor]:
        """Squared output error of each output channel."""
        operation = self.operation
        assert isinstance(operation, WeightedOperation)
        (read,) = self.inputs.values()
        quantizer = self.model.quantizers.get(operation.operand)
        x = read if quantizer is None else quantizer(read)
        weight, bias = operation.present_weight, operation.shifted_bias()
        if weight.ndim == 2:
            target = self.target if bias is None else self.target - bias
            errors = ProductErrors(x.flatten(0, -2), target.flatten(0, -2))
            return lambda candidate: errors.of(candidate.weight(weight, weight))

        def error(candidate: NumberFormat) -> Tensor:
            rest = (operation.function(x, candidate.weight(weight, weight), bias) - self.target).square_()
            return channel_rows(rest, 1).sum(dim=1, dtype=torch.float64)

        return error


class ProductErrors:
    """Squared errors of ``x W^T`` against a target for many ``W``: from ``x^T x`` and ``x^T y`` in float64.

    A candidate then costs as much as ``in`` tokens instead of all of them.

    Args:
        x: Inputs ``(tokens, in)``.
        y: Targets ``(tokens, out)``.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        x, y = x.double(), y.double()
        self.gram = x.T @ x
        self.cross = y.T @ x
        self.squares = y.square().sum(dim=0)

    def of(self, weight: Tensor) -> Tensor:
        """Squared error of each output channel, ``(out,)`` float64."""
        weight = weight.double()
        return self.squares - 2 * (weight * self.cross).sum(dim=1) + ((weight @ self.gram) * weight).sum(dim=1)
