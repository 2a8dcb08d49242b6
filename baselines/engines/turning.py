"""Fold orthogonal matrices into weights, biases, norms and constants, in float64, so that the network stays what it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.graph.heads import HeadChannels
from harness.graph.streams import NormRead, Stream
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel


@dataclass
class _Layer:
    """An operation's weight ``(outputs, inputs, ...)`` and bias ``(outputs,)`` while they are changed, float64."""

    operation: WeightedOperation
    weight: Tensor
    bias: Tensor


class Turning:
    """Collects what is folded into each operation; ``write`` makes it the model's.

    Args:
        model: A network without other transforms.
    """

    def __init__(self, model: QuantizedModel) -> None:
        self.model = model
        self.layers = {operation.node: _Layer(operation, *_parameters(operation)) for operation in model.weights.values()}
        self.changed: set[str] = set()

    def stream(self, stream: Stream, matrix: Tensor, *, rms: bool) -> None:
        """Turn a residual stream.

        Args:
            stream: One that can be turned.
            matrix: ``(width, width)``, orthogonal, float64; without ``rms`` one that keeps means.
            rms: Take means out where the stream is written, and leave them in where it is normalised.
        """
        matrix = matrix.to(self.model.device)
        written = matrix - matrix.mean(0) if rms else matrix
        for node in stream.writers:
            self._outputs(node, written)
        for node in stream.constants:
            self.model.edits.replaced_constants[node] = (self._own(node) @ written).float()
        for norm in stream.norms:
            self._norm(norm, matrix)
            if rms:
                self.model.edits.rms_norms.add(norm.node)
        for node in stream.readers:
            self._inputs(node, matrix)
        self.model.edits.turned_streams.add(stream.name)

    def heads(self, place: HeadChannels, matrices: Tensor) -> None:
        """Turn the channels of each head.

        Args:
            place: Where they stand.
            matrices: ``(heads, channels, channels)``, orthogonal, float64.
        """
        layer, matrices = self._layer(place.node), matrices.to(self.model.device)
        for channels, matrix in zip(place.channels.to(self.model.device), matrices, strict=True):
            if place.outputs:
                layer.weight[channels] = torch.tensordot(matrix.T, layer.weight[channels], 1)
                layer.bias[channels] = matrix.T @ layer.bias[channels]
            else:
                layer.weight[:, channels] = layer.weight[:, channels] @ matrix

    def write(self) -> None:
        """Put the folded weights and biases into the model."""
        for node in sorted(self.changed):
            layer = self.layers[node]
            operation = layer.operation
            self.model.replaced_weights[operation.site.name] = layer.weight.float().contiguous()
            before = torch.zeros_like(layer.bias) if operation.bias is None else operation.bias.double()
            shift = layer.bias - before
            if bool(shift.any()):
                self.model.transform_bias(node, shift.float())

    def _own(self, node: str) -> Tensor:
        """A constant of the network, float64."""
        return self.model.chain.constant(node).to(self.model.device).double()

    def _layer(self, node: str) -> _Layer:
        self.changed.add(node)
        return self.layers[node]

    def _outputs(self, node: str, matrix: Tensor) -> None:
        layer = self._layer(node)
        layer.weight = torch.tensordot(matrix.T, layer.weight, 1)
        layer.bias = matrix.T @ layer.bias

    def _inputs(self, node: str, matrix: Tensor) -> None:
        """Let an operation read turned channels; an input of several copies of the channels is turned copy by copy."""
        layer = self._layer(node)
        weight = layer.weight.movedim(1, -1)
        copies = weight.reshape(*weight.shape[:-1], -1, len(matrix))
        layer.weight = (copies @ matrix).reshape(weight.shape).movedim(-1, 1)

    def _norm(self, norm: NormRead, matrix: Tensor) -> None:
        """Fold a norm's gain and offset into what reads it, and turn the latter's inputs."""
        module = self.model.chain.norms[norm.node]
        for node in norm.readers:
            layer = self._layer(node)
            copies = layer.weight.shape[1] // (norm.copies * len(matrix))
            if module.bias is not None:
                layer.bias = layer.bias + layer.weight @ module.bias.double().repeat(copies)
            if module.weight is not None:
                layer.weight = layer.weight * module.weight.double().repeat(copies)
            self._inputs(node, matrix)
        kept = module.bias if module.weight is None else module.weight
        if kept is not None:  # a norm may have a gain and no offset
            self.model.replaced_norms[norm.node] = torch.ones_like(kept), torch.zeros_like(kept)


def _parameters(operation: WeightedOperation) -> tuple[Tensor, Tensor]:
    """Copies of an operation's weight and bias, float64; zeros where it has no bias."""
    weight = operation.weight.double().clone()
    return weight, weight.new_zeros(len(weight)) if operation.bias is None else operation.bias.double().clone()
