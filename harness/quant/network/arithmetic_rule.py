"""The one rule that decides whether a product runs on integer codes. Each refusal says its reason."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from harness.quant.format.base import NumberFormat
from harness.quant.format.integer_grid import IntegerGrid
from harness.quant.network.convolution import Convolution
from harness.quant.network.edits import Edits
from harness.quant.network.routes import Read, Route
from harness.quant.network.runtime import Runtime
from harness.trial.spec import INTEGER

ASKED = "float arithmetic was asked for"
NOTHING = "nothing is quantized"
LEARNED = "weights are being learned"
DROPPED = "parts of activations stay unquantized while weights are learned"
UNQUANTIZED = "no quantizer"
IMAGE = f"input: {UNQUANTIZED}"  # most often the image
SUMMED = "scales differ along the sum"
BESIDE = "a linear layer beside the block adds to it"
NO_ZERO = "padding: zero has no code"
RANK = "a convolution of another rank than two"
COMPUTED = "its weight is computed by the network"


@dataclass(frozen=True)
class Reading:
    """What codes an operand has.

    Attributes:
        quantizer: Its format.
        grid: Where the format's values lie.
        route: What happens to them before the product.
    """

    quantizer: NumberFormat
    grid: IntegerGrid
    route: Route


def switched_off(runtime: Runtime) -> str:
    """Why no product runs on integers at the moment; empty when they may."""
    if runtime.arithmetic != INTEGER:
        return ASKED
    if not runtime.edits.quantizers:
        return NOTHING
    if runtime.learned:
        return LEARNED
    return DROPPED if runtime.drop is not None else ""


def sources(edits: Edits, read: Read) -> tuple[object, ...]:
    """What the answer for an operand depends on: it holds while these are the same objects."""
    quantizers = edits.quantizers
    return quantizers.get(read.own), quantizers.get(read.route.site), edits.compensations.get(read.route.crosses)


def operand(edits: Edits, read: Read) -> Reading | str:
    """The codes of an activation that a product reads, or the reason why it has none."""
    own = edits.quantizers.get(read.own)
    quantizer, route = (own, Route(read.own)) if own is not None else (edits.quantizers.get(read.route.site), read.route)
    if quantizer is None:
        return UNQUANTIZED
    grid = quantizer.integer_grid()
    if isinstance(grid, str):
        return grid
    if route.obstacle:
        return f"{route.obstacle} between quantizer and product"
    if route.crosses in edits.compensations:
        return BESIDE
    return NO_ZERO if route.pads and not grid.holds_zero else Reading(quantizer, grid, route)


def weighted(
    edits: Edits, read: Read, weight_site: str, convolution: Convolution | None, weight: Tensor
) -> tuple[Reading, IntegerGrid] | str:
    """The grids of a linear operation's or convolution's input and weight, or why it runs in floating point.

    Args:
        edits: Quantizers and what else methods changed.
        read: The input.
        weight_site: The weight's site.
        convolution: What it does; None for a linear operation.
        weight: The weight, output channels first.
    """
    if weight.ndim != (2 if convolution is None else 4):
        return RANK
    quantizer, found = edits.quantizers.get(weight_site), operand(edits, read)
    grid = UNQUANTIZED if quantizer is None else quantizer.integer_grid()
    if isinstance(found, str):
        return f"input: {found}"
    if isinstance(grid, str):
        return f"weight: {grid}"
    if max(found.grid.scale.numel(), found.grid.zero_point.numel()) > 1:
        return f"input: {SUMMED}"
    if grid.scale.numel() > 1 and grid.axis not in (None, 0):
        return f"weight: {SUMMED}"
    return (
        f"input: {NO_ZERO}" if convolution is not None and convolution.pads and not found.grid.holds_zero else (found, grid)
    )


def product(edits: Edits, reads: tuple[Read, Read]) -> tuple[Reading, Reading] | str:
    """The codes of both operands of a product of computed tensors, or why it runs in floating point."""
    found = [operand(edits, read) for read in reads]
    for letter, read, one, summed in zip("ab", reads, found, (-1, -2), strict=True):
        if isinstance(one, str):
            return f"operand {letter}: {one}"
        if max(one.grid.scale.numel(), one.grid.zero_point.numel()) > 1 and not _along_batches(read, one, summed):
            return f"operand {letter}: {SUMMED}"
    left, right = found
    assert isinstance(left, Reading)
    assert isinstance(right, Reading)
    return left, right


def _along_batches(read: Read, found: Reading, summed: int) -> bool:
    """Whether scales per channel (per head) are constant in each of the matrices that are multiplied."""
    axis = found.grid.axis
    return found.route.site == read.own and axis is not None and axis % read.rank < read.rank - 2
