"""Weights and biases of one block that are learned in floating point, through rounding where they have a quantizer."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.quant.format.base import NumberFormat
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel


class LearnedWeights:
    """What gradients move in one segment; gradients pass rounding as if it were not there (Bengio et al. 2013).

    Args:
        model: The network; ``install`` and ``settle`` change it.
        index: The segment.
    """

    def __init__(self, model: QuantizedModel, index: int) -> None:
        self.model = model
        names = model.segments[index].sites
        self.operations: list[WeightedOperation] = [model.weights[name] for name in names if name in model.weights]
        self.weights = {one.site.name: self._free(one.present_weight) for one in self.operations}
        biases = {one.node: one.shifted_bias() for one in self.operations}
        self.before = {node: model.bias_shifts.get(node) for node in biases}
        self.shifts = {node: self._free(torch.zeros_like(bias)) for node, bias in biases.items() if bias is not None}

    @staticmethod
    def _free(value: Tensor) -> Tensor:
        return value.detach().clone().requires_grad_(True)

    @property
    def variables(self) -> list[Tensor]:
        """Weights and shifts of biases."""
        return [*self.weights.values(), *self.shifts.values()]

    def install(self) -> None:
        """Let the network use them as they are now, with gradients."""
        for name, weight in self.weights.items():
            self._place(name)[name] = weight
        for node, shift in self.shifts.items():
            before = self.before[node]
            self.model.bias_shifts[node] = shift if before is None else before + shift

    @torch.no_grad()
    def settle(self) -> None:
        """Leave them in the network as plain numbers: rounded onto their grids where they have one, else as a transform."""
        for node, before in self.before.items():
            self.model.bias_shifts.pop(node, None)
            if before is not None:
                self.model.bias_shifts[node] = before
        for operation in self.operations:
            name, shift = operation.site.name, self.shifts.get(operation.node)
            quantizer = self._quantizer(name)
            weight = self.weights[name].detach()
            self._place(name)[name] = weight if quantizer is None else quantizer.quantize(weight)
            if shift is not None:
                move = self.model.transform_bias if quantizer is None else self.model.shift_bias
                move(operation.node, shift.detach())

    def _quantizer(self, name: str) -> NumberFormat | None:
        return self.model.quantizers.get(name)

    def _place(self, name: str) -> dict[str, Tensor]:
        return self.model.replaced_weights if self._quantizer(name) is None else self.model.rounded_weights
