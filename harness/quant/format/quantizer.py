"""A quantizer: what it is (spec) and its numbers (scale, zero point). Immutable; a change makes a new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from harness.quant.format import nonuniform
from harness.quant.format import uniform as numerics


class Scheme(StrEnum):
    """How codes map to values.

    ``uniform``: one scale per tensor or channel. ``power_of_two``: channel scales differ by powers of two and share a
    zero point (PTF). ``log_int_softmax``: the softmax itself yields negative powers of two (LIS). The others are in
    ``nonuniform.py``.
    """

    UNIFORM = "uniform"
    POWER_OF_TWO = "power_of_two"
    LOG_INT_SOFTMAX = "log_int_softmax"
    LOG_SQRT2 = "log_sqrt2"
    TWIN_SOFTMAX = "twin_softmax"
    TWIN_GELU = "twin_gelu"
    ADAPTIVE_LOG = "adaptive_log"


NONUNIFORM: dict[Scheme, Callable[[Tensor, Tensor, int], Tensor]] = {
    Scheme.LOG_SQRT2: nonuniform.log_sqrt2,
    Scheme.TWIN_SOFTMAX: nonuniform.twin_softmax,
    Scheme.TWIN_GELU: nonuniform.twin_gelu,
    Scheme.ADAPTIVE_LOG: nonuniform.adaptive_log,
}


@dataclass(frozen=True)
class QuantizerSpec:
    """What a quantizer is, before any data was seen.

    Attributes:
        bits: Width of the code, 2..8.
        signed: Two's complement codes instead of unsigned ones.
        symmetric: Zero point fixed at zero.
        axis: Channel axis of per-channel scales, or None for one scale per tensor.
        narrow_range: Leave out the most negative code (signed only).
        scheme: How codes map to values.
        fractional: The zero point need not be an integer (RepQ-ViT's mean zero points).
    """

    bits: int
    signed: bool = False
    symmetric: bool = False
    axis: int | None = None
    narrow_range: bool = False
    scheme: Scheme = Scheme.UNIFORM
    fractional: bool = False

    @property
    def code_range(self) -> tuple[int, int]:
        """Smallest and largest code."""
        return numerics.integer_range(self.bits, self.signed, self.narrow_range)


@dataclass(frozen=True)
class Quantizer:
    """A calibrated quantizer of one site.

    Attributes:
        spec: What it is.
        scale: ``(1,)`` or one entry per channel, positive; two entries for twin ranges, three for
            ``adaptive_log``, empty for log-int-softmax.
        zero_point: ``(1,)`` or one entry per channel, integers in float32 (RepQ-ViT's may be fractions).
        minimum: Lower end of the range the scale was computed from, ``(1,)`` or per channel.
        maximum: Upper end of that range.
        correction: Form of weight bias correction applied behind it (``numerics.corrected_rows``); empty for none.
    """

    spec: QuantizerSpec
    scale: Tensor
    zero_point: Tensor
    minimum: Tensor
    maximum: Tensor
    correction: str = ""

    def __call__(self, x: Tensor, *, overwrite: bool = False, kept: Tensor | None = None) -> Tensor:
        """Fake-quantize an activation (in the differentiable form if the scale asks for gradients).

        Args:
            x: The activation.
            overwrite: Nobody else reads ``x``: its memory may be used for the result.
            kept: Elements that stay as they are, bool, shaped like ``x``; None for none.
        """
        axis = self.spec.axis if self.spec.axis is not None else x.ndim - 1
        through = self.scale.requires_grad or x.requires_grad
        if kept is not None and through and self.spec.scheme not in NONUNIFORM:
            return self.exact(x, axis=axis, through=True, kept=kept)
        if kept is not None:
            return torch.where(kept, x, self(x))
        if self.spec.scheme in NONUNIFORM:
            return self._nonuniform(x)
        if x.is_cuda and self.scale.numel() == 1 and not (self.scale.requires_grad or self.spec.fractional):
            # One kernel instead of six; multiplies by 1 / s, so codes may differ where x / s is within one ulp of a tie.
            zero_point = self.zero_point.to(torch.int32)
            return torch.fake_quantize_per_tensor_affine(x, self.scale, zero_point, *self.spec.code_range)
        return self.exact(x, axis=axis, through=through, overwrite=overwrite)

    def _nonuniform(self, x: Tensor) -> Tensor:
        """Straight-through where gradients are asked for; the scales get none."""
        quantized = NONUNIFORM[self.spec.scheme](x.detach(), self.scale.detach(), self.spec.bits)
        return x + (quantized - x).detach() if x.requires_grad else quantized

    def exact(
        self,
        x: Tensor,
        *,
        through: bool = False,
        axis: int | None = None,
        overwrite: bool = False,
        kept: Tensor | None = None,
    ) -> Tensor:
        """Fake-quantize by division, as the formulas say; ``through`` in the differentiable form, which knows ``kept``."""
        axis = axis if axis is not None else (self.spec.axis if self.spec.axis is not None else 0)
        low, high = self.spec.code_range
        scale = numerics.along(self.scale, x.ndim, axis)
        zero_point = numerics.along(self.zero_point, x.ndim, axis)
        if through:
            return numerics.fake_quantize_through(x, scale, zero_point, low, high, kept)
        function = numerics.fake_quantize_ if overwrite else numerics.fake_quantize
        return function(x, scale, zero_point, low, high)

    def weight(self, weight: Tensor, reference: Tensor) -> Tensor:
        """The weight as it is used: fake-quantized, then bias-corrected if the quantizer says so.

        In the differentiable form if the scale or the weight asks for gradients.

        Args:
            weight: What is rounded.
            reference: Whose mean and deviation a correction restores.
        """
        through = self.scale.requires_grad or weight.requires_grad
        quantized = self.exact(weight, through=through, axis=self.spec.axis or 0)
        return numerics.corrected_rows(reference, quantized, self.correction) if self.correction else quantized

    def with_range(self, minimum: Tensor, maximum: Tensor) -> Quantizer:
        """The same quantizer with scale and zero point of another range."""
        spec = self.spec
        scale, zero_point = numerics.affine_parameters(
            minimum, maximum, spec.bits, signed=spec.signed, symmetric=spec.symmetric, narrow=spec.narrow_range
        )
        return replace(self, scale=scale, zero_point=zero_point, minimum=minimum, maximum=maximum)

    def to(self, device: torch.device) -> Quantizer:
        """The same quantizer on another device."""
        moved = {name: getattr(self, name).to(device) for name in TENSORS}
        return replace(self, **moved)

    def metadata(self) -> dict[str, Any]:
        """Everything that is not a tensor, as plain JSON values."""
        spec = {name: getattr(self.spec, name) for name in QuantizerSpec.__dataclass_fields__}
        return {**spec, "scheme": str(self.spec.scheme), "correction": self.correction}


TENSORS = ("scale", "zero_point", "minimum", "maximum")


def from_metadata(metadata: dict[str, Any], tensors: dict[str, Tensor]) -> Quantizer:
    """Rebuild a quantizer from ``metadata()`` and its tensors."""
    fields = dict(metadata)
    correction = fields.pop("correction")
    spec = QuantizerSpec(**{**fields, "scheme": Scheme(fields["scheme"])})
    return Quantizer(spec, correction=correction, **tensors)


def from_range(spec: QuantizerSpec, minimum: Tensor, maximum: Tensor) -> Quantizer:
    """A uniform quantizer of a range, ``(1,)`` or one entry per channel."""
    empty = torch.empty(0)
    return Quantizer(spec, empty, empty, empty, empty).with_range(minimum, maximum)


def log_int_softmax(bits: int, device: torch.device) -> Quantizer:
    """The quantizer of a log-int-softmax's output: nothing to calibrate, its scale comes from the scores."""
    empty = torch.empty(0, device=device)
    return Quantizer(QuantizerSpec(bits, scheme=Scheme.LOG_INT_SOFTMAX), empty, empty, empty, empty)
