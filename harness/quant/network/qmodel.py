"""The quantized model: a chain of segments, its sites, and the quantizers installed there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from harness.errors import CaptureError
from harness.graph.capture import capture
from harness.graph.fold import fold_batch_norms
from harness.graph.sites import Site
from harness.machine.memory import is_out_of_memory
from harness.models.cards import block_pattern
from harness.quant.format.base import NumberFormat
from harness.quant.network.chain import Chain, Segment, build_chain
from harness.quant.network.devices import create_on
from harness.quant.network.edits import Pair
from harness.quant.network.external import External
from harness.quant.network.operators import WeightedOperation


class QuantizedModel:
    """A network whose sites can hold quantizers. Without any it computes what the full-precision network computes.

    Args:
        chain: The executable chain.
        name: ``arch.tag`` of the model, for messages.
        network: The network that the chain was captured from.

    Attributes:
        edits: What methods changed; its dictionaries can be reached by their names on the model too.
        external: A network that another library quantized: it runs in the place of the quantized chain, as a whole only.
        image_forwards: Images that went through the network so far, in full-network equivalents: running a part of the
            network counts by the part's share of multiply-accumulates.
        batch_limit: Largest batch that memory sufficed for, once one did not.
        channels_last: Images enter with their channels last in memory: networks of convolutions run faster like that
            (ResNet-18 1.5 times on a CPU), transformers do not.
    """

    def __init__(self, chain: Chain, name: str = "model", network: nn.Module | None = None) -> None:
        self.chain = chain
        self.name = name
        self.network = network
        self.edits = chain.runtime.edits
        self.external: External | None = None
        self.image_forwards = 0.0
        self.batch_limit: int | None = None
        self.channels_last = not any(site.attention for site in chain.sites.values())
        total = sum(segment.macs for segment in chain.segments)
        self._shares = [segment.macs / total for segment in chain.segments]
        self._segment_of = {name: i for i, segment in enumerate(chain.segments) for name in segment.sites}

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The steps of the chain."""
        return self.chain.segments

    @property
    def sites(self) -> dict[str, Site]:
        """Every place where a quantizer can sit, by name, in execution order."""
        return self.chain.sites

    @property
    def weights(self) -> dict[str, WeightedOperation]:
        """The operations that own a weight, by the weight's site name."""
        return self.chain.weights

    @property
    def layer_norms(self) -> dict[str, tuple[str, str]]:
        """Node names of the layer norms with the names of their input and output sites."""
        return self.chain.layer_norms

    @property
    def arithmetic(self) -> str:
        """What products of values on uniform grids are computed with: ``integer`` or ``float``. Assign to change."""
        return self.chain.runtime.arithmetic

    @arithmetic.setter
    def arithmetic(self, value: str) -> None:
        self.chain.runtime.arithmetic = value

    @property
    def quantizers(self) -> dict[str, NumberFormat]:
        """Installed quantizers by site name. Assign to change; quantizers themselves are immutable."""
        return self.edits.quantizers

    @property
    def bias_shifts(self) -> dict[str, Tensor]:
        """Corrections added to biases, by node name of the operation."""
        return self.edits.bias_shifts

    @property
    def transform_shifts(self) -> dict[str, Tensor]:
        """The part of ``bias_shifts`` that belongs to transforms, by node name of the operation."""
        return self.edits.transform_shifts

    @property
    def replaced_weights(self) -> dict[str, Tensor]:
        """Weights in the place of the full-precision ones, by site name."""
        return self.edits.replaced_weights

    @property
    def rounded_weights(self) -> dict[str, Tensor]:
        """Weights that are already rounded onto their grids, by site name."""
        return self.edits.rounded_weights

    @property
    def replaced_norms(self) -> dict[str, Pair]:
        """Weight and bias of layer norms in the place of the full-precision ones, by node name."""
        return self.edits.replaced_norms

    @property
    def replaced_constants(self) -> dict[str, Tensor]:
        """Constants in the place of the network's own, by node name."""
        return self.edits.replaced_constants

    @property
    def rms_norms(self) -> set[str]:
        """Node names of the layer norms that leave the mean in."""
        return self.edits.rms_norms

    @property
    def rectified(self) -> set[str]:
        """Node names of the activation functions that ReLU replaces."""
        return self.edits.rectified

    @property
    def turned_streams(self) -> set[str]:
        """Names of the residual streams that an orthogonal matrix has turned."""
        return self.edits.turned_streams

    @property
    def compensations(self) -> dict[str, Pair]:
        """Weight and bias of a linear layer beside a block, by the segment's name."""
        return self.edits.compensations

    @property
    def integer_norms(self) -> set[str]:
        """Node names of the layer norms that run on integers."""
        return self.edits.integer_norms

    @property
    def undefined_norms(self) -> set[str]:
        """Node names of the integer layer norms that stay undefined where all codes of a token are equal, as released."""
        return self.edits.undefined_norms

    @property
    def float_norms(self) -> set[str]:
        """Node names of the layer norms that ran on integers until they were made to run in floating point."""
        return self.edits.float_norms

    @property
    def widths(self) -> dict[str, int]:
        """Bits of sites that a step has chosen for the steps after it, by site name."""
        return self.edits.widths

    def shift_bias(self, node: str, shift: Tensor) -> None:
        """Correct the bias of an operation, by its node's name: added to what corrects it already."""
        before = self.bias_shifts.get(node)
        self.bias_shifts[node] = shift if before is None else before + shift

    def transform_bias(self, node: str, shift: Tensor) -> None:
        """Shift the bias of an operation as part of a transform, which leaves the full-precision network what it is."""
        before = self.transform_shifts.get(node)
        self.transform_shifts[node] = shift if before is None else before + shift
        self.shift_bias(node, shift)

    def quantized_weights(self, index: int) -> list[WeightedOperation]:
        """The operations of a segment whose weights have a quantizer, in execution order."""
        names = self.segments[index].sites
        return [self.weights[name] for name in names if name in self.weights and name in self.quantizers]

    def norm_parameters(self, node: str) -> tuple[Tensor, Tensor]:
        """Present weight and bias of a layer norm, by its node's name.

        Raises:
            KeyError: There is no such norm, or it has no parameters.
        """
        if node in self.replaced_norms:
            return self.replaced_norms[node]
        norm = self.chain.norms[node]
        if norm.weight is None or norm.bias is None:
            raise KeyError(f"{node} has no weight and bias")
        return norm.weight, norm.bias

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.weights.values())).weight.device

    def clear(self) -> None:
        """Remove all quantizers and corrections: the full-precision network again."""
        self.edits.clear()
        self.external = None

    def segment_of(self, site: str) -> int:
        """Index of the segment that a site belongs to."""
        return self._segment_of[site]

    def run(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Run segments ``start`` to ``stop`` (exclusive) with quantizers acting. Gradients flow if enabled.

        Raises:
            ValueError: Part of a network that another library quantized was asked for.
        """
        if self.external is not None and (start or stop not in (None, len(self.segments))):
            raise ValueError(f"a network quantized by {self.external.library} runs as a whole only")
        with self._mode(quantize=True):
            return self._forward(x, start, stop)

    def run_full_precision(self, x: Tensor, start: int = 0, stop: int | None = None, *, integers: bool = False) -> Tensor:
        """Run segments without quantizers; ``integers`` leaves integer LayerNorm and log-int-softmax on.

        Where a residual stream was turned, a part of the network reads and gives what the turned one holds there.
        """
        whole = start == 0 and stop in (None, len(self.segments)) and not integers
        with self._mode(quantize=False, integers=integers, transformed=bool(self.edits.turned_streams) and not whole):
            return self._forward(x, start, stop)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Quantized logits ``(n, classes)`` of images ``(n, c, h, w)``."""
        return self.run(images)

    @torch.no_grad()
    def full_precision(self, images: Tensor) -> Tensor:
        """Full-precision logits ``(n, classes)`` of images ``(n, c, h, w)``."""
        return self.run_full_precision(images)

    @torch.no_grad()
    def observe(
        self,
        x: Tensor,
        watch: Callable[[str, Tensor], None],
        *,
        quantize: bool = False,
        live_softmax: bool = False,
        start: int = 0,
        stop: int | None = None,
    ) -> Tensor:
        """Run segments and show every site's tensor (before its quantizer) to ``watch``; returns the last output.

        Without ``quantize`` transformed weights and norms act all the same, so that values are those quantizers will see.
        Operands (what linear operations, convolutions and matrix products read) are among them.
        """
        runtime = self.chain.runtime
        with self._mode(quantize=quantize, softmax=live_softmax, transformed=True):
            runtime.observe = watch
            try:
                return self._forward(x, start, stop)
            finally:
                runtime.observe = None

    def to(self, device: torch.device | str) -> QuantizedModel:
        """Move parameters and quantizers; returns self."""
        target = torch.device(device)
        for segment in self.segments:
            create_on(segment.module.to(target), target)
        self.edits.to(target)
        return self

    @contextmanager
    def learning(self, weights: dict[str, Tensor], drop: tuple[float, torch.Generator] | None = None) -> Iterator[None]:
        """While the block runs, use these weights as they are, and leave a share of every activation unquantized.

        Args:
            weights: By site name; may ask for gradients.
            drop: Share, and the generator that draws which elements; None for none.
        """
        runtime = self.chain.runtime
        runtime.learned, runtime.drop = weights, drop
        try:
            yield
        finally:
            runtime.learned, runtime.drop = {}, None

    @contextmanager
    def _mode(
        self, *, quantize: bool, integers: bool = False, softmax: bool = False, transformed: bool = False
    ) -> Iterator[None]:
        runtime = self.chain.runtime
        before = runtime.quantize, runtime.live_norms, runtime.live_softmax, runtime.transformed
        runtime.quantize, runtime.live_norms, runtime.live_softmax = quantize, integers, integers or softmax
        runtime.transformed = transformed
        try:
            yield
        finally:
            runtime.quantize, runtime.live_norms, runtime.live_softmax, runtime.transformed = before

    def _forward(self, x: Tensor, start: int, stop: int | None) -> Tensor:
        """All images together, or in parts where memory did not suffice before."""
        limit = self.batch_limit
        if limit is not None and len(x) > limit and self._divisible:
            return torch.cat([self._forward(part, start, stop) for part in x.split(limit)])
        try:
            return self._through(x, start, stop)
        except (RuntimeError, MemoryError) as error:
            if len(x) < 2 or not self._divisible or not is_out_of_memory(error):
                raise
            self.batch_limit = len(x) // 2
        return self._forward(x, start, stop)  # outside the handler: the failed attempt's tensors are free by now

    @property
    def _divisible(self) -> bool:
        """Whether parts of a batch give what the whole gives: not for observers, and gradients need all of it."""
        return self.chain.runtime.observe is None and not torch.is_grad_enabled()

    def _through(self, x: Tensor, start: int, stop: int | None) -> Tensor:
        if self.external is not None and self.chain.runtime.quantize:
            self.image_forwards += len(x)
            logits: Tensor = self.external.network(x)
            return logits
        if start == 0 and self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        for index in range(start, len(self.segments) if stop is None else stop):
            self.image_forwards += len(x) * self._shares[index]
            segment = self.segments[index]
            output = segment.module(x)
            if self.chain.runtime.quantize and segment.name in self.compensations:
                weight, bias = self.compensations[segment.name]
                output = output + x @ weight + bias
            x = output
        return x


def quantizable(
    network: nn.Module, input_size: tuple[int, int, int], name: str = "model", pattern: str | None = None
) -> QuantizedModel:
    """Capture ``network``, fold its batch norms and make it ready for quantizers.

    Args:
        network: A classifier of images.
        input_size: ``(c, h, w)``.
        name: ``arch.tag``, for messages.
        pattern: Regular expression of block paths; None for the one of the network's card, or the general one.

    Raises:
        CaptureError: The network cannot be captured or has nothing to quantize.
    """
    chain = build_chain(fold_batch_norms(capture(network, input_size)), pattern or block_pattern(name))
    if not chain.weights:
        raise CaptureError(f"{name} has no convolution and no linear operation, nothing to quantize")
    return QuantizedModel(chain, name, network)
