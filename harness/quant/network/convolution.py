"""A convolution as a matrix product: where its windows lie, and one row of codes for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

aten = torch.ops.aten
Two = tuple[int, int]


@dataclass(frozen=True)
class Convolution:
    """A two-dimensional convolution's fixed arguments.

    Attributes:
        kernel: Height and width.
        stride: Along both axes.
        padding: Zeros above, below, left and right.
        dilation: Along both axes.
        groups: Number of groups of channels.
    """

    kernel: Two
    stride: Two = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Two = (1, 1)
    groups: int = 1

    @property
    def pads(self) -> bool:
        """Whether zeros are added."""
        return any(self.padding)

    def size(self, x: Tensor) -> Two:
        """Height and width of the output for an input ``(n, c, h, w)``."""
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        top, bottom, left, right = self.padding
        h, w = x.shape[2] + top + bottom, x.shape[3] + left + right
        return (h - dh * (kh - 1) - 1) // sh + 1, (w - dw * (kw - 1) - 1) // sw + 1

    def rows(self, codes: Tensor, zero: int) -> Tensor:
        """The windows of an input as rows, the channels of one place side by side.

        Args:
            codes: ``(n, c, h, w)``.
            zero: Code of the padded zeros.

        Returns:
            ``(n * h' * w', kernel height * kernel width * c)``, with ``h'`` and ``w'`` of the output.
        """
        out = self.size(codes)
        x = self._padded(codes.permute(0, 2, 3, 1), zero).contiguous()
        n, h, w, c = x.shape
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        line = w * c
        strides = (h * line, sh * line, sw * c, dh * line, dw * c, 1)
        return x.as_strided((n, *out, kh, kw, c), strides).reshape(n * out[0] * out[1], kh * kw * c)

    def _padded(self, x: Tensor, zero: int) -> Tensor:
        if not self.pads:
            return x
        top, bottom, left, right = self.padding
        n, h, w, c = x.shape
        wider = torch.full((n, h + top + bottom, w + left + right, c), zero, dtype=x.dtype, device=x.device)
        wider[:, top : top + h, left : left + w] = x
        return wider

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution of ``(n, c, h, w)`` without a bias, in the input's type."""
        top, bottom, left, right = self.padding
        if (top, left) != (bottom, right):
            x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
        # cuDNN may transform the sums (Winograd), which leaves the integers.
        with torch.backends.cudnn.flags(enabled=False):
            return F.conv2d(x, weight, None, self.stride, (top, left), self.dilation, self.groups)


def by_windows(convolution: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution of floats of one group as a matrix product: its sums do not depend on which library convolves.

    Args:
        convolution: What it does.
        x: ``(n, c, h, w)``.
        weight: Output channels first.
        bias: Or None.
    """
    rows, (h, w) = convolution.rows(x, 0), convolution.size(x)
    y = F.linear(rows, weight.permute(0, 2, 3, 1).reshape(len(weight), -1), bias)
    y = y.reshape(len(x), h, w, -1).permute(0, 3, 1, 2)
    return y.contiguous() if x.is_contiguous() else y


def convolution_of(target: Any, arguments: Sequence[Any], options: Mapping[str, Any], weight: Tensor) -> Convolution | None:
    """What an ATen convolution does; None for a linear operation or a convolution of another rank.

    Args:
        target: The operation.
        arguments: What follows input, weight and bias: stride, padding, dilation, groups.
        options: Likewise, by name.
        weight: ``(channels, channels per group, height, width)``.
    """
    if target not in (aten.conv2d.default, aten.conv2d.padding) or weight.ndim != 4:
        return None
    names = ("stride", "padding", "dilation", "groups")
    given = {**dict(zip(names, arguments, strict=False)), **options}
    kernel, dilation = (int(weight.shape[2]), int(weight.shape[3])), _two(given.get("dilation", 1))
    padding = _padding(given.get("padding", 0), kernel, dilation)
    return Convolution(kernel, _two(given.get("stride", 1)), padding, dilation, int(given.get("groups", 1)))


def _two(value: Any) -> Two:
    values = [int(one) for one in value] if isinstance(value, Sequence) else [int(value)]
    return values[0], values[-1]


def _padding(value: Any, kernel: Two, dilation: Two) -> tuple[int, int, int, int]:
    if value == "same":
        (h, w) = (dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1))
        return h // 2, h - h // 2, w // 2, w - w // 2
    h, w = (0, 0) if value == "valid" else _two(value)
    return h, h, w, w
