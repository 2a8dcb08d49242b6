"""Judge a search on calibration images that it does not see, without labels.

A search fits the images it searches on. Whether the network came closer to full precision is told by a held-out share of
the calibration images: by the ratio of signal to error of their logits, which no search minimises.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor

from harness.engines.scale_search import Objective, Unit
from harness.quant.format.affine import Affine
from harness.quant.network.qmodel import QuantizedModel

SMALLEST_SEARCH = 2  # images: a contrastive loss needs a negative
EXACT_DB = 200.0  # stands for an error of zero


def parted(images: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Images to search on, and the last ``share`` of them, held out; none are held out of fewer than three.

    The calibration images are a random draw in random order, so the last ones are one as well.
    """
    count = min(int(len(images) * share), max(len(images) - SMALLEST_SEARCH, 0))
    return images[: len(images) - count], images[len(images) - count :]


class Judge:
    """How far the present scales are from full precision on held-out images, and the curves of a search.

    Args:
        objective: The search's loss on the held-out images; None when there are none.

    Attributes:
        loss: The search's loss on them, when they were last judged.
        sqnr: Ratio of signal to error of their logits in dB; larger is better.
        curves: Losses and ratios at the start and after every pass, for the record.
    """

    def __init__(self, objective: Objective | None) -> None:
        self.objective = objective
        self.loss = self.sqnr = 0.0
        self.curves: dict[str, list[float]] = {"loss": []}
        if objective is not None:
            self.curves |= {"held_out_loss": [], "held_out_sqnr_db": []}

    def judge(self, segment: int) -> None:
        """Run the held-out images after the scales of a unit in ``segment`` changed; without images do nothing."""
        if self.objective is not None:
            self.objective.changed(segment)
            logits = self.objective.logits(segment)
            self.loss, self.sqnr = self.objective.loss_of(logits), sqnr_db(logits, self.objective.targets)

    def merit(self, loss: float) -> float:
        """What to choose scales by, larger is better: the ratio on held-out images, without any the search's loss."""
        return -loss if self.objective is None else self.sqnr

    def draw(self, loss: float) -> None:
        """Add a point to each curve.

        Args:
            loss: On the images of the search.
        """
        self.curves["loss"].append(loss)
        if self.objective is not None:
            self.curves["held_out_loss"].append(self.loss)
            self.curves["held_out_sqnr_db"].append(round(self.sqnr, 4))

    @property
    def evaluations(self) -> int:
        """How often the held-out images were run."""
        return 0 if self.objective is None else self.objective.evaluations

    @property
    def images(self) -> int:
        """How many there are."""
        return 0 if self.objective is None else sum(map(len, self.objective.targets))

    def facts(self) -> dict[str, Any]:
        """What an interrupted search needs to go on, as plain JSON values."""
        return {"loss": self.loss, "sqnr": self.sqnr, "curves": self.curves, "evaluations": self.evaluations}

    def resume(self, facts: dict[str, Any]) -> None:
        """Become what ``facts()`` described."""
        self.loss, self.sqnr, self.curves = facts["loss"], facts["sqnr"], facts["curves"]
        if self.objective is not None:
            self.objective.evaluations = facts["evaluations"]
            self.objective.changed(0)


def sqnr_db(outputs: Iterable[Tensor], targets: Iterable[Tensor]) -> float:
    """Ten times the logarithm of summed squares of the targets over those of the errors; float64, fixed order."""
    signal = error = 0.0
    for output, target in zip(outputs, targets, strict=True):
        signal += float(target.double().square().sum())
        error += float((output - target).double().square().sum())
    if not math.isfinite(error):
        return -EXACT_DB
    return 10 * math.log10(signal / error) if error and signal else EXACT_DB


class BestScales:
    """The scales of some units at the moment when a criterion was best.

    Args:
        model: The model.
        units: Whose scales are meant.
    """

    def __init__(self, model: QuantizedModel, units: Iterable[Unit]) -> None:
        self._model = model
        self._sites = tuple(dict.fromkeys(site for unit in units for site in unit.sites))
        self.value = -math.inf
        self.loss = math.nan
        self._kept = {site: model.quantizers[site] for site in self._sites}

    def offer(self, value: float, loss: float, *, always: bool = False) -> None:
        """Keep the present scales if their criterion is above the best so far, or ``always``.

        Args:
            value: The criterion; larger is better.
            loss: The search's loss of these scales.
            always: Whatever the criterion was before.
        """
        if always or value > self.value:
            self.value, self.loss = value, loss
            self._kept = {site: self._model.quantizers[site] for site in self._sites}

    def restore(self) -> None:
        """Put the best scales back, if any were offered."""
        if self.value > -math.inf:
            self._model.quantizers.update(self._kept)

    def facts(self) -> list[float] | None:
        """Criterion and loss as plain JSON values; None before the first offer."""
        return [self.value, self.loss] if self.value > -math.inf else None

    def tensors(self) -> dict[str, Tensor]:
        """What ``read`` needs: scales and zero points by site."""
        found: dict[str, Tensor] = {}
        for site, quantizer in self._kept.items():
            found[f"{site}/scale"] = quantizer.scale
            if isinstance(quantizer, Affine):
                found[f"{site}/zero_point"] = quantizer.zero_point
        return found

    def resume(self, facts: list[float] | None, tensors: dict[str, Tensor]) -> None:
        """Become what ``facts()`` and ``tensors()`` described."""
        self.value, self.loss = facts or (-math.inf, math.nan)
        for site in self._sites:
            quantizer = replace(self._model.quantizers[site], scale=tensors[f"{site}/scale"])
            if isinstance(quantizer, Affine):
                quantizer = replace(quantizer, zero_point=tensors[f"{site}/zero_point"])
            self._kept[site] = quantizer


def below_floor(loss: float, floor: float) -> str:
    """What a record says of a search that ended below its floor; empty where it did not."""
    if loss >= floor:
        return ""
    return (
        f"the search ended at a loss of {loss:.6g}, below that of full precision against itself ({floor:.6g}): what it "
        "gained below led away from full precision"
    )
