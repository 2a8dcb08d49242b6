"""Scales per attention head: they leave a product of attention as a factor per head, for heads are its batch."""

from __future__ import annotations

from harness.graph.operations import Kind
from harness.graph.sites import Place, Site
from harness.quant.format.affine import Affine

HEADS = 1  # axis of the heads


def is_per_head(site: Site, quantizer: Affine) -> bool:
    """Whether an operand of a matrix product has one scale per head and one zero point for all."""
    of_product = site.place is Place.OPERAND and site.feeds == frozenset({Kind.MATMUL})
    shared = bool((quantizer.zero_point == quantizer.zero_point.flatten()[0]).all())
    return of_product and quantizer.axis == HEADS and shared
