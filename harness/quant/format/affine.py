"""Affine formats: integer codes at equal distances, ``x = (q - z) s``. What methods round codes of needs one of these."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from harness.quant.format import arithmetic
from harness.quant.format.base import NumberFormat
from harness.quant.format.integer_grid import BYTE, FARTHEST, IntegerGrid, refusal
from harness.quant.format.realisation import (
    BETWEEN,
    CORRECTED,
    FRACTIONAL,
    INTEGER,
    SCALE_BYTES,
    ZERO_POINT_BYTES,
    Realisation,
)
from harness.quant.format.straight_through import fake_quantize_straight_through

OFF_GRID = 1e-2  # part of a step that float32 arithmetic may leave between a value and its code


@dataclass(frozen=True)
class AffineSpec:
    """What an affine format is, before any data was seen.

    Attributes:
        bits: Width of the code, 2..8.
        signed: Two's complement codes instead of unsigned ones.
        symmetric: Zero point fixed at zero.
        axis: Channel axis of per-channel scales, or None for one scale per tensor.
        narrow_range: Leave out the most negative code (signed only).
        fractional: The zero point need not be an integer (RepQ-ViT's mean zero points).
    """

    bits: int
    signed: bool = False
    symmetric: bool = False
    axis: int | None = None
    narrow_range: bool = False
    fractional: bool = False

    @property
    def code_range(self) -> tuple[int, int]:
        """Smallest and largest code."""
        return arithmetic.integer_range(self.bits, self.signed, self.narrow_range)

    def parameters(self, minimum: Tensor, maximum: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero point of a range, ``(1,)`` or one entry per channel."""
        return arithmetic.affine_parameters(
            minimum, maximum, self.bits, signed=self.signed, symmetric=self.symmetric, narrow=self.narrow_range
        )


@dataclass(frozen=True)
class Affine(NumberFormat):
    """Codes at equal distances with a scale and a zero point, per tensor or per channel.

    Attributes:
        scale: ``(1,)`` or one entry per channel, positive.
        zero_point: ``(1,)`` or one entry per channel, integers in float32 (RepQ-ViT's may be fractions).
        minimum: Lower end of the range the scale was computed from, ``(1,)`` or per channel.
        maximum: Upper end of that range.
        signed: As in ``AffineSpec``, like the fields below.
        symmetric: Likewise.
        narrow_range: Likewise.
        fractional: Likewise.
    """

    zero_point: Tensor
    minimum: Tensor
    maximum: Tensor
    signed: bool = False
    symmetric: bool = False
    narrow_range: bool = False
    fractional: bool = False

    @classmethod
    def of(cls, spec: AffineSpec, scale: Tensor, zero_point: Tensor, minimum: Tensor, maximum: Tensor) -> Self:
        """The format of a spec with these numbers."""
        return cls(scale=scale, zero_point=zero_point, minimum=minimum, maximum=maximum, **vars(spec))

    @property
    def spec(self) -> AffineSpec:
        """What it is, without its numbers."""
        return AffineSpec(**{one.name: getattr(self, one.name) for one in fields(AffineSpec)})

    @property
    def code_range(self) -> tuple[int, int]:
        """Smallest and largest code."""
        return arithmetic.integer_range(self.bits, self.signed, self.narrow_range)

    @property
    def levels(self) -> int:
        """One per code."""
        low, high = self.code_range
        return high - low + 1

    @property
    def learnable_scales(self) -> Tensor:
        """All free scales; zero points stay."""
        return self.free_scales

    @property
    def zero_points(self) -> int:
        """One byte each, also where all are zero."""
        return self.zero_point.numel()

    def __call__(self, x: Tensor, *, overwrite: bool = False, kept: Tensor | None = None) -> Tensor:
        """What an activation becomes, as in ``NumberFormat``; on a GPU by one kernel instead of six where there is one.

        The kernel multiplies by 1 / s, so codes may differ where x / s is within one ulp of a tie.
        """
        if kept is None and x.is_cuda and self.scale.numel() == 1 and not (self.scale.requires_grad or self.fractional):
            zero_point = self.zero_point.to(torch.int32)
            return torch.fake_quantize_per_tensor_affine(x, self.scale, zero_point, *self.code_range)
        return super().__call__(x, overwrite=overwrite, kept=kept)

    def quantize(self, x: Tensor) -> Tensor:
        """``(q - z) s`` by division, as the formulas say."""
        return arithmetic.fake_quantize(x, *self._along(x), *self._ends(x))

    def quantize_(self, x: Tensor) -> Tensor:
        """``quantize`` that overwrites ``x``."""
        return arithmetic.fake_quantize_(x, *self._along(x), *self._ends(x))

    def straight_through(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """``quantize``, differentiable in ``x`` and the scale."""
        return fake_quantize_straight_through(x, *self._along(x), *self._ends(x), kept)

    def codes(self, x: Tensor) -> Tensor:
        """Integers of ``code_range``."""
        return self._positions(x).round().clamp(*self.code_range).to(torch.int32)

    def at_lower_end(self) -> Self:
        """The format with zero points that put the lower end of its range where it was; symmetric ones stay."""
        if self.symmetric or self.minimum.shape != self.scale.shape:
            return self
        return replace(self, zero_point=self._zero_point_at(self.minimum, self.scale.detach()))

    def _zero_point_at(self, minimum: Tensor, scale: Tensor) -> Tensor:
        low, high = self.code_range
        return (low - torch.round(minimum / scale)).clamp(low, high)

    def on_grid(self, values: Tensor | None) -> bool:
        """Integer zero points, and weights at integer codes of ``code_range``."""
        return self._whole and (values is None or self._at_codes(values))

    def realisation(self, values: Tensor | None) -> Realisation:
        """Corrected weights and fractional zero points fold into constants; weights between codes cannot be computed."""
        if self.correction and values is not None:
            return CORRECTED
        if values is not None and not self._at_codes(values):
            return BETWEEN
        return INTEGER if self._whole else FRACTIONAL

    def integer_grid(self) -> IntegerGrid | str:
        """Its own, for integer zero points and codes of a byte; a format that rounds in another way says for itself."""
        if type(self).quantize is not Affine.quantize:
            return refusal(self.name)
        if not self._whole:
            return "fractional zero points"
        if self.bits > BYTE:
            return f"codes of {self.bits} bits do not fit a byte"
        grid = IntegerGrid(self.scale.detach(), self.zero_point, *self.code_range, self.axis)
        return grid if grid.reach <= FARTHEST else "zero points too far from the codes"

    @property
    def parameter_bytes(self) -> float:
        """Symmetric formats store no zero points; fractional ones take as much as a scale."""
        each = SCALE_BYTES if self.fractional else ZERO_POINT_BYTES
        return SCALE_BYTES * self.scales + (0 if self.symmetric else each * self.zero_points)

    @property
    def _whole(self) -> bool:
        return torch.equal(self.zero_point, self.zero_point.round())

    def _at_codes(self, values: Tensor) -> bool:
        positions = self._positions(values)
        codes = positions.round()
        low, high = self.code_range
        inside = codes.ge(low).all() and codes.le(high).all()
        return bool(inside) and bool((positions - codes).abs().max() < OFF_GRID)

    def _positions(self, x: Tensor) -> Tensor:
        """Codes before rounding."""
        scale, zero_point = self._along(x)
        return x / scale + zero_point

    def _ends(self, x: Tensor) -> tuple[int | Tensor, int | Tensor]:
        """Where codes are cut off."""
        return self.code_range

    def _along(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero point so that they broadcast against ``x``."""
        axis = self.axis or 0
        return arithmetic.along(self.scale, x.ndim, axis), arithmetic.along(self.zero_point, x.ndim, axis)
