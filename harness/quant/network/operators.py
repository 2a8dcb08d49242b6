"""Executable operations of an instrumented network: each knows its sites and asks the runtime what to do there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.graph.operations import Kind
from harness.graph.sites import Place, Site
from harness.quant.format import integer
from harness.quant.format.affine import Affine
from harness.quant.format.base import NumberFormat
from harness.quant.format.log_int_softmax import LogIntSoftmax
from harness.quant.network.arithmetic_rule import IMAGE, product, sources, switched_off, weighted
from harness.quant.network.convolution import Convolution, by_windows
from harness.quant.network.integer_operations import Kept, Product, Weighted, prepared, wants_gradient
from harness.quant.network.norms import normalised
from harness.quant.network.routes import Read
from harness.quant.network.runtime import Runtime


class Tap(nn.Module):
    """The quantizer's place after a value or constant."""

    def __init__(self, runtime: Runtime, site: Site) -> None:
        super().__init__()
        self.runtime = runtime
        self.site = site
        # An operation's output reaches its readers only through this tap; images and constants belong to somebody else.
        # What an unknown operation yields may be a view of what it reads.
        self.owns = site.place is Place.VALUE and site.kind not in (Kind.INPUT, Kind.OTHER)

    def forward(self, x: Tensor) -> Tensor:
        """Observe or fake-quantize ``x``, or pass it on."""
        runtime = self.runtime
        if runtime.observe is not None:
            runtime.observe(self.site.name, x)
        if runtime.quantize:
            quantizer = runtime.edits.quantizers.get(self.site.name)
            if quantizer is not None and not isinstance(quantizer, LogIntSoftmax):
                return runtime.activation(quantizer, x, overwrite=self.owns and runtime.observe is None)
        return x


class Operand(nn.Module):
    """The quantizer's place before one reader of a value: other readers see the value as it is."""

    def __init__(self, runtime: Runtime, name: str) -> None:
        super().__init__()
        self.runtime = runtime
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """Observe or fake-quantize what the operation reads, or pass it on."""
        runtime = self.runtime
        if runtime.observe is not None:
            if x.requires_grad:  # a gradient kept here is that of this reader, not of all readers of the value
                x = x.view_as(x)
            runtime.observe(self.name, x)
        quantizer = runtime.edits.quantizers.get(self.name) if runtime.quantize else None
        return x if quantizer is None else runtime.activation(quantizer, x)


class WeightedOperation(nn.Module):
    """A convolution or linear operation with its weight site.

    The fake-quantized weight is kept until the site's quantizer or weight changes (both are replaced, never changed in
    place, so identity tells).

    Args:
        runtime: Shared state.
        site: The weight's site, or None when the weight is computed in the graph (then it stays as it is).
        read: Its input: the site before it, and where its values come from.
        node: Name of the graph node, key of the bias shift.
        function: Takes input, weight and bias.
        weight: Full-precision weight.
        bias: Full-precision bias or None.
        convolution: What a two-dimensional convolution does; None for other operations.
    """

    def __init__(
        self,
        runtime: Runtime,
        site: Site,
        read: Read,
        node: str,
        function: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        weight: Tensor,
        bias: Tensor | None,
        convolution: Convolution | None = None,
    ) -> None:
        super().__init__()
        self.runtime = runtime
        self.site = site
        self.read = read
        self.operand = read.own
        self.node = node
        self.function = function
        self.convolution = convolution
        self._read = Operand(runtime, read.own)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.weight: Tensor
        self.bias: Tensor | None
        self._cached_for: tuple[NumberFormat, Tensor] | None = None
        self._cached: Tensor | None = None
        self._integers: Kept[Weighted | str] = Kept()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the operation with the weight and bias that the runtime's mode asks for."""
        x = self._read(x)
        if not self.runtime.quantize:
            transformed = self.runtime.transformed and self.site.name in self.runtime.edits.replaced_weights
            weight, bias = (self.present_weight, self.transformed_bias()) if transformed else (self.weight, self.bias)
            return self.function(x, weight, bias)
        bias = self.shifted_bias()
        if not switched_off(self.runtime) and not wants_gradient(x, self.rounded_weight, bias, *self._scales()):
            form = self.integer_form()
            if not isinstance(form, str) and form.takes(x):
                return form(x, bias)
            if form == IMAGE and self.convolution is not None and self.convolution.groups == 1:
                return by_windows(self.convolution, x, self.quantized_weight(), bias)
        return self.function(x, self.quantized_weight(), bias)

    def integer_form(self) -> Weighted | str:
        """The operation on integer codes, or the reason why there is none; kept as the quantized weight is."""
        edits, read, weight = self.runtime.edits, self.read, self.rounded_weight
        quantizer, reference = edits.quantizers.get(self.site.name), self.present_weight

        def compute() -> Weighted | str:
            found = weighted(edits, read, self.site.name, self.convolution, weight)
            if isinstance(found, str) or quantizer is None:
                return str(found)
            with torch.no_grad():
                return prepared(*found, quantizer, weight, reference, self.convolution)

        return self._integers.of((quantizer, weight, reference, *sources(edits, read)), compute)

    def _scales(self) -> list[Tensor]:
        return [one.scale for one in (self.runtime.edits.quantizers.get(self.site.name),) if one is not None]

    @property
    def rounded_weight(self) -> Tensor:
        """What its quantizer gets: the present weight, or what a method has rounded already."""
        return self.runtime.edits.rounded_weights.get(self.site.name, self.present_weight)

    @property
    def present_weight(self) -> Tensor:
        """The weight before its quantizer: the full-precision one, or what a transform put in its place."""
        return self.runtime.edits.replaced_weights.get(self.site.name, self.weight)

    def quantized_weight(self) -> Tensor:
        """The weight after its quantizer, computed once per quantizer and weight."""
        if self.site.name in self.runtime.learned:
            return self.runtime.learned[self.site.name]
        quantizer, reference = self.runtime.edits.quantizers.get(self.site.name), self.present_weight
        if quantizer is None:
            return reference
        weight = self.rounded_weight
        if quantizer.scale.requires_grad or weight.requires_grad:
            return quantizer.weight(weight, reference)
        kept = self._cached_for
        if self._cached is None or kept is None or kept[0] is not quantizer or kept[1] is not weight:
            self._cached, self._cached_for = quantizer.weight(weight, reference), (quantizer, weight)
        return self._cached

    def shifted_bias(self) -> Tensor | None:
        """The bias of the quantized operation: with what transforms and corrections added."""
        return self._plus(self.runtime.edits.bias_shifts.get(self.node))

    def transformed_bias(self) -> Tensor | None:
        """The bias that goes with ``present_weight`` before any quantizer: with what transforms added."""
        return self._plus(self.runtime.edits.transform_shifts.get(self.node))

    def _plus(self, shift: Tensor | None) -> Tensor | None:
        if shift is None:
            return self.bias
        return shift if self.bias is None else self.bias + shift


class MatMul(nn.Module):
    """A product of two computed tensors with a quantizer's place before each."""

    def __init__(self, runtime: Runtime, reads: tuple[Read, Read], function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.runtime = runtime
        self.reads = reads
        self.left, self.right = Operand(runtime, reads[0].own), Operand(runtime, reads[1].own)
        self.function = function
        self._integers: Kept[Product | str] = Kept()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The product of both operands."""
        a, b = self.left(a), self.right(b)
        if self.runtime.quantize and not switched_off(self.runtime) and not wants_gradient(a, b):
            form = self.integer_form()
            if not isinstance(form, str) and form.takes(a, b):
                return form(a, b)
        return self.function(a, b)

    def integer_form(self) -> Product | str:
        """The product on integer codes, or the reason why there is none; kept until a quantizer changes."""
        edits, (left, right) = self.runtime.edits, self.reads

        def compute() -> Product | str:
            found = product(edits, self.reads)
            return found if isinstance(found, str) else Product(*found, (left.rank, right.rank))

        return self._integers.of((*sources(edits, left), *sources(edits, right)), compute)


class LayerNorm(nn.Module):
    """Layer normalisation, in floating point or on FQ-ViT's integers."""

    def __init__(
        self, runtime: Runtime, node: str, sources: tuple[str, str], weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> None:
        super().__init__()
        self.runtime = runtime
        self.node = node
        self.in_site, self.out_site = sources
        self.eps = eps
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.weight: Tensor | None
        self.bias: Tensor | None

    def forward(self, x: Tensor, shape: list[int]) -> Tensor:
        """Normalise over the last axes of size ``shape``."""
        scales = self.integer_scales() if self.runtime.quantize or self.runtime.live_norms else None
        weight, bias = self.weight, self.bias
        if self.runtime.acts and self.node in self.runtime.edits.replaced_norms:
            weight, bias = self.runtime.edits.replaced_norms[self.node]
        centred = not (self.runtime.acts and self.node in self.runtime.edits.rms_norms)

        def smooth(x: Tensor) -> Tensor:
            return normalised(x, shape, weight, bias, self.eps, centred=centred)

        if scales is None or weight is None or bias is None:
            return smooth(x)
        released = self.node in self.runtime.edits.undefined_norms
        return straight_through(
            x,
            lambda x: integer.integer_layer_norm(x, *scales, weight, bias, released=released, centred=centred),
            smooth,
        )

    @property
    def affine(self) -> bool:
        """Whether it has a weight and a bias."""
        return self.weight is not None and self.bias is not None

    def integer_scales(self) -> tuple[Tensor, Tensor] | None:
        """Scales of the input and output, when this norm runs on integers and both have integer codes."""
        if self.node not in self.runtime.edits.integer_norms:
            return None
        before = self.runtime.edits.quantizers.get(self.in_site)
        after = self.runtime.edits.quantizers.get(self.out_site)
        return (before.scale, after.scale) if isinstance(before, Affine) and isinstance(after, Affine) else None


class Softmax(nn.Module):
    """Softmax, in floating point or as FQ-ViT's log-int-softmax."""

    def __init__(self, runtime: Runtime, in_site: str, out_site: str) -> None:
        super().__init__()
        self.runtime = runtime
        self.in_site, self.out_site = in_site, out_site

    def forward(self, x: Tensor, axis: int) -> Tensor:
        """Softmax over ``axis``."""
        runtime = self.runtime
        if runtime.quantize or runtime.live_softmax:
            after = runtime.edits.quantizers.get(self.out_site)
            before = runtime.edits.quantizers.get(self.in_site)
            if isinstance(after, LogIntSoftmax) and isinstance(before, Affine):
                return straight_through(
                    x,
                    lambda x: integer.log_int_softmax(x, before.scale, after.bits),
                    lambda x: torch.softmax(x, axis),
                )
        return torch.softmax(x, axis)


def straight_through(x: Tensor, exact: Callable[[Tensor], Tensor], smooth: Callable[[Tensor], Tensor]) -> Tensor:
    """The value of ``exact``; where gradients are needed, with the gradient of ``smooth``."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return exact(x)
    differentiable = smooth(x)
    return differentiable + (exact(x.detach()) - differentiable).detach()


def bind(target: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Callable[..., Tensor]:
    """A function of input, weight and bias that calls an ATen convolution or linear with its fixed arguments."""
    if target == torch.ops.aten.linear.default:
        return F.linear

    def call(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        result: Tensor = target(x, weight, bias, *arguments, **options)
        return result

    call.fixed = (arguments, options)  # type: ignore[attr-defined]  # what an export reads: stride, padding, ...
    return call
