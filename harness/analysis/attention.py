"""Attention in both precisions: maps of chosen images, and how far the order of attention moved.

Quantformer (Wang et al., TPAMI 2022) holds that what matters of self-attention is its rank: which tokens a query looks at
most. Here the ranks of the keys of every query are compared in both precisions: their mean absolute difference as a share of
the keys (a random order has about a third), Spearman's correlation, and the share of queries with another first key.
Entropies are Quantformer's measure of concentration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor

from harness.analysis.subject import Subject
from harness.graph.operations import Kind
from harness.graph.sites import Place
from harness.machine.progress import Progress
from harness.quant.format.log_int_softmax import LogIntSoftmax
from harness.quant.network.qmodel import QuantizedModel
from harness.quant.network.state import restore, state_of

BATCH = 8
MAP_AXES = 4  # images, heads, queries, keys


@dataclass
class Attention:
    """What was found.

    Attributes:
        ranks: One row per attention and head.
        full: Probabilities ``(images, heads, queries, keys)`` of the chosen images by site, in full precision.
        quantized: Likewise, as the quantized network uses them.
    """

    ranks: pd.DataFrame
    full: dict[str, np.ndarray] = field(default_factory=dict)
    quantized: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Difference:
    """Sums over the queries of one attention, by head.

    Attributes:
        queries: Counted so far, per head.
        moved: Sum of mean absolute differences of ranks, as shares of the keys.
        correlation: Sum of Spearman's correlations.
        other_first: Queries whose first key is another one.
        entropy: Sums of entropies in nats, quantized and in full precision.
    """

    queries: int = 0
    moved: np.ndarray | float = 0.0
    correlation: np.ndarray | float = 0.0
    other_first: np.ndarray | float = 0.0
    entropy: np.ndarray | float = 0.0

    def add(self, quantized: np.ndarray, full: np.ndarray) -> None:
        """Count probabilities ``(images, heads, queries, keys)`` of the same images; equal ones share their mean rank."""
        keys, over = full.shape[-1], (0, 2)
        ranks, ranks_full = rankdata(quantized, axis=-1), rankdata(full, axis=-1)
        self.queries += full.shape[0] * full.shape[2]
        self.moved += (np.abs(ranks - ranks_full).mean(-1) / keys).sum(over)
        self.correlation += _correlation(ranks, ranks_full).sum(over)
        self.other_first += (quantized.argmax(-1) != full.argmax(-1)).sum(over)
        self.entropy += np.stack([_entropy(one).sum(over) for one in (quantized, full)])

    def rows(self, site: str, block: str) -> list[list[object]]:
        """One row per head."""
        parts = [np.asarray(one) / self.queries for one in (self.moved, self.correlation, self.other_first)]
        values = np.stack([*parts, *(np.asarray(self.entropy) / self.queries)], axis=1)
        return [[site, block, head, *row] for head, row in enumerate(values.tolist())]


COLUMNS = ("site", "block", "head", "rank_difference", "spearman", "other_first", "entropy", "entropy_fp32")


def _correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the last axis; 0 where one of them is constant."""
    a, b = one - one.mean(-1, keepdims=True), other - other.mean(-1, keepdims=True)
    scale = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    found: np.ndarray = np.divide((a * b).sum(-1), scale, out=np.zeros_like(scale), where=scale > 0)
    return found


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    total = np.maximum(probabilities.sum(-1, keepdims=True), 1e-12)
    share = np.maximum(probabilities / total, 1e-12)
    found: np.ndarray = -(share * np.log(share)).sum(-1)
    return found


def attention(subject: Subject, images: int, progress: Progress) -> Attention:
    """Compare attention on the held-out images.

    Args:
        subject: Network and images.
        images: Of how many of the first images maps are kept.
        progress: Display.
    """
    model = subject.model
    after = _quantizer_sites(model)
    sums = {site: Difference() for site in after}
    found = Attention(pd.DataFrame(columns=list(COLUMNS)))
    batches = subject.held_out.split(BATCH)
    with progress.task("attention", len(batches)) as task:
        for number, batch in enumerate(task.track(batches)):
            with as_loaded(model):
                full = _maps(model, batch, after, quantize=False)
            quantized = _maps(model, batch, after, quantize=True)
            for site in full:
                sums[site].add(quantized[site], full[site])
            if number * BATCH < images:
                _keep(found.full, full, images)
                _keep(found.quantized, quantized, images)
    blocks = {site: model.segments[model.segment_of(site)].name for site in after}
    rows = [row for site, one in sums.items() if one.queries for row in one.rows(site, blocks[site])]
    found.ranks = pd.DataFrame(rows, columns=list(COLUMNS))
    return found


@contextmanager
def as_loaded(model: QuantizedModel) -> Iterator[None]:
    """While the block runs, the network is the checkpoint's: some steps put other weights in place of its own."""
    before = state_of(model)
    model.clear()
    try:
        yield
    finally:
        restore(model, *before)


def _keep(kept: dict[str, np.ndarray], new: Mapping[str, np.ndarray], most: int) -> None:
    for site, maps in new.items():
        kept[site] = np.concatenate([kept[site], maps])[:most] if site in kept else maps[:most]


def _quantizer_sites(model: QuantizedModel) -> dict[str, tuple[str, ...]]:
    """By softmax inside an attention module: where quantizers of its output may sit, its own place and its readers'."""
    softmax = {name: site for name, site in model.sites.items() if _is_attention(site.kind, site.place, site.attention)}
    return {
        name: (
            name,
            *(other for other, one in model.sites.items() if one.place is Place.OPERAND and one.source == site.source),
        )
        for name, site in softmax.items()
    }


def _is_attention(kind: Kind, place: Place, attention: str) -> bool:
    return kind is Kind.SOFTMAX and place is Place.VALUE and bool(attention)


def _maps(
    model: QuantizedModel, images: Tensor, after: Mapping[str, tuple[str, ...]], *, quantize: bool
) -> dict[str, np.ndarray]:
    """Attention probabilities by site; those whose axes are not images, heads, queries and keys are left out."""
    found: dict[str, np.ndarray] = {}

    def watch(name: str, x: Tensor) -> None:
        if name in after and x.ndim == MAP_AXES:
            found[name] = (_after(model, after[name], x) if quantize else x).float().cpu().numpy()

    with torch.no_grad():
        model.observe(images, watch, quantize=quantize)
    return found


def _after(model: QuantizedModel, places: tuple[str, ...], x: Tensor) -> Tensor:
    """What its reader sees: Log-Int-Softmax acted already, any other quantizer acts behind what was observed."""
    for place in places:
        quantizer = model.quantizers.get(place)
        if quantizer is not None and not isinstance(quantizer, LogIntSoftmax):
            x = quantizer(x)
    return x
