"""Search of the quantizers of one operation by the squared error of its output: what AdaLog does layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.baselines.engines.quantizer_spaces import (
    Centre,
    Error,
    ProbabilitySpace,
    SearchEffort,
    Space,
    UniformSpace,
    gelu_space,
    uniform_space,
)
from harness.baselines.engines.segment_operations import Operation, output_of
from harness.graph.operations import Kind
from harness.machine.memory import Kept
from harness.quant.calibrate.installation import FLOAT_BITS, weight_rows
from harness.quant.calibrate.placement import Placement
from harness.quant.format.affine import AffineSpec
from harness.quant.format.arithmetic import EPSILON, channel_rows
from harness.quant.format.base import NumberFormat
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import Bits

HEADS = 1  # axis of the heads in attention's products
LEAST_SCALE = 1e-4  # of what linear operations read, as released


@dataclass(frozen=True)
class Installing:
    """Which quantizers an operation gets.

    Attributes:
        effort: How far a search goes.
        centre: Zero points that are tried.
        rounds: How often weights and operands take turns.
        logarithms: Behind softmax and GELU.
        placement: Where quantizers sit. ``deploy``: weights are symmetric, and an operand has one scale, also in products.
    """

    effort: SearchEffort
    centre: Centre
    rounds: int
    logarithms: bool
    placement: Placement


class OperationSearch:
    """The searches of one convolution, linear operation or matrix product.

    Args:
        model: The network.
        operation: Its quantizers are searched.
        operands: What it reads, all images together, by site.
        bits: Widths.
        rule: Which quantizers it gets.
    """

    def __init__(
        self, model: QuantizedModel, operation: Operation, operands: dict[str, Kept], bits: Bits, rule: Installing
    ) -> None:
        self.model = model
        self.operation = operation
        self.bits = bits
        self.rule = rule
        if isinstance(operation, WeightedOperation):
            names = [operation.operand]
        else:
            names = [operation.left.name, operation.right.name]
        self.inputs = {name: operands[name][0] for name in names}
        self.target = output_of(model, operation, list(self.inputs.values()), quantize=False)

    def run(self) -> None:
        """Install quantizers and search them in turn: weights first, but behind a GELU what is read."""
        spaces = self._spaces()
        self.model.quantizers.update({name: self._started(name, space) for name, space in spaces.items()})
        order = list(spaces)
        if any(self._logarithmic(name) and isinstance(self.operation, WeightedOperation) for name in self.inputs):
            order.reverse()
        for _ in range(self.rule.rounds if len(order) > 1 else 1):
            for name in order:
                error = self._operand_error(name) if name in self.inputs else self._weight_error(name)
                self.model.quantizers[name] = spaces[name].search(error, self.model.quantizers[name])

    def _spaces(self) -> dict[str, Space]:
        """What is searched, by site: weights, then operands."""
        spaces: dict[str, Space] = {}
        operation = self.operation
        width = self.bits.at(operation.site).weight if isinstance(operation, WeightedOperation) else FLOAT_BITS
        if isinstance(operation, WeightedOperation) and width < FLOAT_BITS:
            rows = weight_rows(self.model, operation.site.name)
            spec = self.rule.placement.weight_spec(width)
            spaces[operation.site.name] = self._uniform(rows, spec, 2 ** (width - 1))
        for name, x in self.inputs.items():
            site = self.model.sites[name]
            width = self.rule.placement.width(site, self.bits)
            if width < FLOAT_BITS and self.rule.placement.selects(site):
                spaces[name] = self._operand_space(name, x, width)
        return spaces

    def _operand_space(self, name: str, x: Tensor, bits: int) -> Space:
        if self._logarithmic(name):
            effort = self.rule.effort
            softmax = self.model.sites[name].kind is Kind.SOFTMAX
            return ProbabilitySpace(bits, effort, x.device) if softmax else gelu_space(x, bits, effort)
        if self._by_head(x):
            return self._uniform(channel_rows(x, HEADS), AffineSpec(bits, axis=HEADS), 2 ** (bits - 1))
        return self._uniform(x.reshape(1, -1), AffineSpec(bits), 2**bits, LEAST_SCALE)

    def _uniform(self, rows: Tensor, spec: AffineSpec, zero_points: int, least: float = EPSILON) -> UniformSpace:
        return uniform_space(rows, spec, self.rule.effort, self.rule.centre, zero_points=zero_points, least=least)

    def _started(self, name: str, space: Space) -> NumberFormat:
        """Where the search begins: as released linear operations start with the quantizers nearest to the values."""
        operation = self.operation
        if not isinstance(space, UniformSpace) or not isinstance(operation, WeightedOperation) or operation.weight.ndim > 2:
            return space.start
        values = self.inputs[name].reshape(1, -1) if name in self.inputs else weight_rows(self.model, name)
        return space.search(lambda one: _own_error(one, values), space.start)

    def _logarithmic(self, name: str) -> bool:
        site = self.model.sites[name]
        return self.rule.logarithms and (site.kind is Kind.SOFTMAX or site.function == "gelu")

    def _by_head(self, x: Tensor) -> bool:
        """Whether an operand gets one scale per head: those of products ``(n, heads, tokens, channels)``."""
        product = not isinstance(self.operation, WeightedOperation)
        return product and x.ndim == 4 and not self.rule.placement.deployed

    def _operand_error(self, name: str) -> Error:
        """Squared output error of the whole operation, or of each head."""
        output = self._output_with(name)

        def error(quantizer: NumberFormat) -> Tensor:
            rest = (output(quantizer) - self.target).square_()
            if quantizer.axis is None:
                return rest.sum(dtype=torch.float64).reshape(1)
            return channel_rows(rest, HEADS).sum(dim=1, dtype=torch.float64)

        return error

    def _output_with(self, name: str) -> Callable[[NumberFormat], Tensor]:
        """The operation as a function of one operand's quantizer: what else it reads is quantized once."""
        operation = self.operation
        if isinstance(operation, WeightedOperation):
            weight, bias, x = operation.quantized_weight(), operation.shifted_bias(), self.inputs[name]
            return lambda quantizer: operation.function(quantizer(x), weight, bias)
        present = self.model.quantizers
        fixed = {one: present[one](x) if one in present else x for one, x in self.inputs.items() if one != name}

        def output(quantizer: NumberFormat) -> Tensor:
            sides = {**fixed, name: quantizer(self.inputs[name])}
            product: Tensor = operation.function(*(sides[one] for one in self.inputs))
            return product

        return output

    def _weight_error(self, name: str) -> Error:
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


def _own_error(quantizer: NumberFormat, values: Tensor) -> Tensor:
    """Squared error of the values themselves, row by row ``(groups,)``."""
    return (quantizer(values) - values).square_().sum(dim=1, dtype=torch.float64)


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
