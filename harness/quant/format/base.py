"""What a number format is: how real values become codes of a few bits and back. Open: other packages define their own.

A format is a frozen dataclass that holds its calibrated numbers; a change makes a new one. Its fields are its state: those
that are tensors go into state files as tensors, the others as plain JSON values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from harness.errors import IncompatibleError
from harness.quant.format.integer_grid import IntegerGrid, refusal
from harness.quant.format.realisation import INTEGER, SCALE_BYTES, ZERO_POINT_BYTES, Realisation, unknown
from harness.quant.format.row_correction import corrected_rows

F = TypeVar("F", bound="NumberFormat")


@dataclass(frozen=True)
class NumberFormat(ABC):
    """A calibrated number format at one site. Register subclasses with ``@number_format("name")``.

    Attributes:
        bits: Width of the code of one element.
        scale: What is calibrated: positive float32 numbers in a vector; empty where there are none.
        axis: Channel axis of numbers per channel, or None for numbers per tensor.
        correction: Form of weight bias correction applied after it (``row_correction``); empty for none.
        name: The name it is registered under; state files and coverage tables have it.
    """

    bits: int
    scale: Tensor
    axis: int | None = field(default=None, kw_only=True)
    correction: str = field(default="", kw_only=True)

    name: ClassVar[str] = ""

    @abstractmethod
    def quantize(self, x: Tensor) -> Tensor:
        """The representable values that ``x`` becomes, quantized and dequantized; ``x`` itself stays as it is."""

    @abstractmethod
    def codes(self, x: Tensor) -> Tensor:
        """The codes of ``x``, int32, shaped like ``x``: at most ``levels`` different ones per scale."""

    @property
    def levels(self) -> int:
        """Number of representable values per scale: ``2^bits``, and one more where a zero has no code of its own."""
        return int(2**self.bits)

    @property
    def granularity(self) -> str:
        """For the coverage table: per ``tensor`` or per ``channel`` of the plain format, the name of the others."""
        return self.name

    @property
    def scales(self) -> int:
        """How many scales are stored, four bytes each."""
        return self.scale.numel()

    @property
    def zero_points(self) -> int:
        """How many zero points are stored, one byte each."""
        return 0

    @property
    def free_scales(self) -> Tensor:
        """What a search over scales may move, as a vector: all scales, or fewer where some are tied together."""
        return self.scale.detach().reshape(-1)

    def with_free_scales(self, values: Tensor) -> Self:
        """The same format with other free scales; gradients flow through them if they ask for gradients."""
        return replace(self, scale=values)

    @property
    def learnable_scales(self) -> Tensor:
        """What a reconstruction may learn, as a vector: what ``straight_through`` is differentiable in, none by default."""
        return self.scale.new_empty(0)

    def with_learned_scales(self, values: Tensor) -> Self:
        """The same format with other learnable scales; gradients flow through them if they ask for gradients."""
        return self.with_free_scales(values)

    def on_grid(self, values: Tensor | None) -> bool:
        """Whether tensors are integers as they stand: ``(q - z) s`` with ``2^bits`` codes and an integer ``z``, or shifts.

        Args:
            values: A weight as the network uses it, corrections included; None for an activation.
        """
        return False

    def realisation(self, values: Tensor | None) -> Realisation:
        """How integer arithmetic computes with tensors of this format, and why if they are not ``(q - z) s``.

        Args:
            values: As in ``on_grid``.
        """
        return INTEGER if self.on_grid(values) else unknown(self.name)

    def integer_grid(self) -> IntegerGrid | str:
        """The grid that its values lie on, before any correction, or why products cannot run on integer codes."""
        return refusal(self.name)

    @property
    def parameter_bytes(self) -> float:
        """Bytes of its own numbers as a deployed network stores them."""
        return SCALE_BYTES * self.scales + ZERO_POINT_BYTES * self.zero_points

    def __call__(self, x: Tensor, *, overwrite: bool = False, kept: Tensor | None = None) -> Tensor:
        """What an activation becomes; with straight-through gradients if it or the scale asks for gradients.

        Args:
            x: The activation.
            overwrite: Nobody else reads ``x``: its memory may be used for the result.
            kept: Elements that stay unquantized (QDrop), bool, shaped like ``x``; None for none.
        """
        if x.requires_grad or self.scale.requires_grad:
            return self.straight_through(x, kept)
        if kept is not None:
            return torch.where(kept, x, self(x))
        return self.quantize_(x) if overwrite else self.quantize(x)

    def quantize_(self, x: Tensor) -> Tensor:
        """``quantize`` that may overwrite ``x``."""
        return self.quantize(x)

    def straight_through(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """``quantize`` whose gradient is that of the identity; the scale gets none (Bengio et al. 2013).

        Args:
            x: Values.
            kept: Elements that stay unquantized, as in ``__call__``.
        """
        with torch.no_grad():
            quantized = self.quantize(x)
        if x.requires_grad:
            quantized = x + (quantized - x).detach()
        return quantized if kept is None else torch.where(kept, x, quantized)

    def weight(self, weight: Tensor, reference: Tensor) -> Tensor:
        """The weight as it is used: quantized, then bias-corrected if the format says so.

        With straight-through gradients if the scale or the weight asks for gradients.

        Args:
            weight: What is rounded.
            reference: Whose mean and deviation a correction restores.
        """
        learned = self.scale.requires_grad or weight.requires_grad
        quantized = self.straight_through(weight) if learned else self.quantize(weight)
        return corrected_rows(reference, quantized, self.correction) if self.correction else quantized

    def to(self, device: torch.device) -> Self:
        """The same format on another device."""
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in self._tensors().items()}
        return replace(self, **moved)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All it takes to make it again: tensors by name, and plain JSON facts."""
        tensors = self._tensors()
        return tensors, {one.name: getattr(self, one.name) for one in fields(self) if one.name not in tensors}

    @classmethod
    def from_state(cls, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Self:
        """The format whose ``state()`` this is."""
        values: dict[str, Any] = {**tensors, **facts}
        return cls(**values)

    def _tensors(self) -> dict[str, Tensor]:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def required(kind: type[F], quantizer: NumberFormat, site: str, method: str) -> F:
    """The number format of a site, for a method that works on one kind of formats only.

    Args:
        kind: What it works on: ``Affine`` for those that choose among neighbouring codes, ``Uniform`` for new ranges.
        quantizer: What sits at the site.
        site: Its name, for the message.
        method: Who asks, likewise.

    Raises:
        IncompatibleError: The site has another kind.
    """
    if isinstance(quantizer, kind):
        return quantizer
    raise IncompatibleError(
        f"{method} works on {kind.__name__} number formats, {site} has {type(quantizer).__name__}",
        f"leave {method} out, or use a scheme such as minmax or fqvit before it",
    )
