"""All parts of an analysis, each with its pictures and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.attention import attention
from harness.analysis.before import before_search
from harness.analysis.curves import accuracy_over, search_curves
from harness.analysis.directions import CHOSEN
from harness.analysis.distributions import distributions
from harness.analysis.draw_attention import maps_figure, ranks_figure
from harness.analysis.draw_curves import accuracy_figure, search_figure
from harness.analysis.draw_distributions import distributions_figure
from harness.analysis.draw_landscape import lines_figure, plane_figure
from harness.analysis.landscape import LOSSES, Landscape, Survey, Wanted
from harness.analysis.output import Output, Shown
from harness.analysis.subject import Subject, chosen
from harness.analysis.words import ATTENTION_WORDS, CURVE_WORDS, DISTRIBUTION_WORDS, LANDSCAPE_WORDS
from harness.errors import UsageError
from harness.machine.progress import Progress
from harness.store.store import Store
from harness.store.table_cache import rows as rows_of
from harness.trial.record import Record

MOST_SITES = 3  # attentions side by side
WITHOUT_NETWORK = {"curves"}  # parts that records alone tell


@dataclass(frozen=True)
class Asked:
    """What to look at.

    Attributes:
        parts: Of ``PARTS``.
        blocks: Which blocks pictures show, see ``chosen``; None for three.
        maps: Numbers of the held-out images whose attention is shown.
        wanted: How finely to look at the landscape.
    """

    parts: Sequence[str]
    blocks: str | None
    maps: Sequence[int]
    wanted: Wanted


class Study:
    """One analysis.

    Args:
        store: Where the trial and its neighbours are.
        record: The trial.
        opened: Opens its network and images; not asked for where no part needs them.
        asked: What to look at.
        progress: Display.

    Raises:
        UsageError: Blocks or images that were asked for are not there, or network or images cannot be opened.
    """

    def __init__(
        self, store: Store, record: Record, opened: Callable[[], Subject], asked: Asked, progress: Progress
    ) -> None:
        self.store, self.record, self.asked, self.progress = store, record, asked, progress
        self._opened = opened
        self.title = f"{record['stack']}, {record['bits']}, {record['model']}"
        self.facts: dict[str, Any] = {"trial": record["id"], "command": record["command"]}
        if set(asked.parts) - WITHOUT_NETWORK:
            self._look()

    def _look(self) -> None:
        """Open the network and find what was asked for in it."""
        subject = self.subject
        self.blocks = chosen(subject.blocks, self.asked.blocks)
        held = len(subject.held_out)
        wrong = next((number for number in self.asked.maps if not 0 <= number < held), None)
        if wrong is not None:
            raise UsageError(f"image {wrong} is not there: expected 0 to {held - 1}", "there are more with --images")
        self.facts |= {"calibration_images": len(subject.calibration), "held_out_images": held, "held_out": subject.about}

    @cached_property
    def subject(self) -> Subject:
        """The trial's network and images."""
        return self._opened()

    def run(self, output: Output) -> Path:
        """All parts that were asked for; returns the page."""
        self.output = output
        for part in self.asked.parts:
            self.progress.stage(part)
            PARTS[part](self)
        return output.finish(self.title, self.facts)

    def landscape(self) -> None:
        """Loss over scales."""
        wanted, output = self.asked.wanted, self.output
        before, about = before_search(self.store, self.subject, wanted.scope)
        survey = Survey(self.subject, wanted, before)
        if not survey.units:
            output.parts.append(Shown("Loss landscape", "No block of this network has scales to move."))
            return
        found = survey.run(self.progress)
        self.facts |= {"search_direction": about, "landscape": {**vars(wanted)}}
        self._tell(found)
        shown = _inside(self.blocks, [unit.name for unit in survey.units])
        pictures = [output.picture("landscape-lines", lines_figure(found, shown, f"Loss along directions: {self.title}"))]
        tables = {"lines": found.lines, "gains": found.gains, "correlations": found.correlations}
        if found.plane_of:
            pictures.append(output.picture("landscape-plane", plane_figure(found, f"Loss over a plane: {self.title}")))
            tables["plane"] = found.plane
        written = tuple(output.table(f"landscape-{name}", rows) for name, rows in tables.items())
        output.parts.append(Shown("Loss landscape", LANDSCAPE_WORDS, tuple(pictures), written))

    def _tell(self, found: Landscape) -> None:
        """Note what a search could gain, and how well the losses of one side tell those of the other, mean over blocks."""
        told = found.correlations.groupby("loss", sort=False)["correlation"].mean().fillna(0.0)
        self.facts["mean_gains"] = _mean_gains(found.gains)
        self.facts["correlation_of_sides"] = {str(name): round(float(value), 4) for name, value in told.items()}

    def distributions(self) -> None:
        """Values per channel."""
        found = distributions(self.subject)
        pictures = []
        for block in self.blocks:
            own = [one for one in found if one.block == block]
            if own:
                figure = distributions_figure(own, f"Values per channel, {block}: {self.title}")
                pictures.append(self.output.picture(f"distributions-{block}", figure))
        table = pd.concat([one.rows() for one in found], ignore_index=True)
        name = self.output.table("distributions", table)
        self.output.parts.append(Shown("Values per channel", DISTRIBUTION_WORDS, tuple(pictures), (name,)))

    def attention(self) -> None:
        """Maps and ranks."""
        found = attention(self.subject, max(self.asked.maps, default=0) + 1, self.progress)
        tables = (self.output.table("attention-ranks", found.ranks),)
        if found.ranks.empty:
            words = "This network has no attention with heads, queries and keys."
            self.output.parts.append(Shown("Attention", words, (), tables))
            return
        pictures = [self.output.picture("attention-ranks", ranks_figure(found, f"Order of attention: {self.title}"))]
        sites = [site for site in found.full if any(site.startswith(f"{block}.") for block in self.blocks)][:MOST_SITES]
        if sites and self.asked.maps:
            numbers = list(self.asked.maps)
            for maps in (found.full, found.quantized):
                maps.update({site: maps[site][numbers] for site in sites})
            figure = maps_figure(found, sites, self._pictures(numbers), f"Attention of held-out images: {self.title}")
            pictures.append(self.output.picture("attention-maps", figure))
        means = found.ranks.groupby("site", sort=False)["rank_difference"].mean()
        self.facts["rank_difference"] = {str(site): round(float(value), 5) for site, value in means.items()}
        self.output.parts.append(Shown("Attention", ATTENTION_WORDS, tuple(pictures), tables))

    def _pictures(self, numbers: Sequence[int]) -> np.ndarray:
        """Held-out images ``(n, h, w, c)`` as pixels in [0, 1]."""
        preprocessing = self.subject.network.preprocessing
        images = self.subject.held_out[list(numbers)].cpu().movedim(1, -1).numpy()
        shown: np.ndarray = np.clip(images * np.array(preprocessing.std) + np.array(preprocessing.mean), 0, 1)
        return shown if shown.shape[-1] in (1, 3) else shown[..., :1]

    def curves(self) -> None:
        """Accuracy over what trials differ in."""
        found = accuracy_over(rows_of(self.store, self.progress).table, self.record)
        pictures = [self.output.picture("accuracy", accuracy_figure(found, f"Accuracy over settings: {self.title}"))]
        tables = [self.output.table("accuracy", found)]
        search = search_curves(self.record)
        if len(search):
            pictures.append(self.output.picture("search", search_figure(search, f"The search, pass by pass: {self.title}")))
            tables.append(self.output.table("search", search))
        self.output.parts.append(Shown("Accuracy over settings", CURVE_WORDS, tuple(pictures), tuple(tables)))


def _inside(blocks: Sequence[str], units: Sequence[str]) -> list[str]:
    """The units that lie in some blocks; the first where none does."""
    found = [unit for unit in units if any(unit == one or unit.startswith(f"{one}.") for one in blocks)]
    return found or list(units[:1])


def _mean_gains(gains: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Of the best child, by loss: mean gains over the blocks in percent."""
    own = gains[gains["direction"] == CHOSEN]
    sides = ("gain_calibration", "gain_held_out")
    parts = {name: own[own["loss"] == name] for name in LOSSES}
    return {
        name: {side: round(100 * float(part[side].fillna(0.0).mean()), 3) for side in sides}
        for name, part in parts.items()
        if len(part)
    }


PARTS: dict[str, Callable[[Study], None]] = {
    "landscape": Study.landscape,
    "distributions": Study.distributions,
    "attention": Study.attention,
    "curves": Study.curves,
}
