"""A paper's table with published and measured values: rows that were run, rows that are published only, and the title."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from tabulate import tabulate

from harness.leaderboard import text
from harness.leaderboard.published.numbers import IMAGENET_IMAGES, Accuracy, PublishedRuntime, accuracies, runtimes
from harness.method.stack import check
from harness.models.cards import cards


@dataclass(frozen=True)
class Reproduction:
    """What an experiment reproduces.

    Attributes:
        source: Beginning of the source's name in the published numbers.
        quantity: ``top1`` in percent, or ``minutes`` of the search.
        rows: Published name of each stack.
        variants: Names of stacks that are measured beside the published ones.
        note: What to know about it.
        scaled_down: Values of the grid for a machine without ImageNet.
    """

    source: str
    quantity: str
    rows: Mapping[str, str]
    note: str
    scaled_down: Mapping[str, Any]
    variants: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Reproduction:
        """From an experiment's file; stacks in canonical form."""
        rows = {str(check(stack)): name for stack, name in content["rows"].items()}
        variants = {str(check(stack)): name for stack, name in content.get("variants", {}).items()}
        return cls(content["source"], content["quantity"], rows, content.get("note", ""), content["scaled_down"], variants)


def title(reproduction: Reproduction, measured: pd.DataFrame) -> str:
    """What was run, in one honest line: the paper's table only on its networks with all of ImageNet's images."""
    if measured.empty:
        return f"{reproduction.source}: nothing measured"
    names = {card.name for card in cards().values() if card.paper_name}
    models, images = sorted(measured["model"].unique()), sorted(measured["n_images"].unique())
    if set(models) <= names and images == [IMAGENET_IMAGES]:
        return f"{reproduction.source}, on its networks and ImageNet's {IMAGENET_IMAGES:,} validation images"
    data = ", ".join(sorted(measured["data"].unique()))
    counts = ", ".join(f"{count:,}" for count in images)
    return (
        f"NOT {reproduction.source}: its stacks, scaled down to {', '.join(models)} with {counts} evaluation images of "
        f"{data}; published numbers (ImageNet, {IMAGENET_IMAGES:,} images) stand beside for orientation only"
    )


def tables(reproduction: Reproduction, measured: pd.DataFrame) -> str:
    """One Markdown table per bit-width under the title, and the note.

    Args:
        reproduction: What the experiment reproduces.
        measured: Rows of finished trials, columns as in ``harness.store.table``.
    """
    parts = [title(reproduction, measured)]
    for bits in measured["bits"].drop_duplicates():
        parts.append(f"{bits}\n\n{_table(reproduction, measured[measured['bits'] == bits], bits)}")
    parts += [f"Note: {reproduction.note}."] if reproduction.note else []
    return "\n\n".join(parts)


def _table(reproduction: Reproduction, measured: pd.DataFrame, bits: str) -> str:
    published = _published(reproduction, bits)
    models = list(dict.fromkeys(one.model for one in published))
    here = list(measured["model"].drop_duplicates())
    headers = ["published as", "stack", "images", *[f"here: {name}" for name in here], *[f"published: {m}" for m in models]]
    names = {stack: reproduction.rows.get(stack, "") for stack in measured["stack"].drop_duplicates()}
    lines = []
    for (stack, calib), group in measured.groupby(["stack", "calib"], sort=False):
        ours = [_measured(reproduction, group[group["model"] == model]) for model in here]
        theirs = [_number(published, names[str(stack)], model) for model in models]
        label = names[str(stack)] or reproduction.variants.get(str(stack), "-")
        lines.append([label, text.code(str(stack)), str(calib), *ours, *theirs])
    for method in dict.fromkeys(one.method for one in published):
        if method not in names.values():
            theirs = [_number(published, method, model) for model in models]
            lines.append([method, "published only", "-", *["-"] * len(here), *theirs])
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def _published(reproduction: Reproduction, bits: str) -> list[Accuracy | PublishedRuntime]:
    if reproduction.quantity == "minutes":
        return [one for one in runtimes() if one.source.startswith(reproduction.source)]
    return [one for one in accuracies() if one.source.startswith(reproduction.source) and one.bits == bits]


def _number(published: Iterable[Accuracy | PublishedRuntime], method: str, model: str) -> str:
    found = [one for one in published if one.method == method and one.model == model]
    values = [f"{one.minutes:g} min" if isinstance(one, PublishedRuntime) else f"{one.top1:.2f}" for one in found]
    return " / ".join(values) or "-"


def _measured(reproduction: Reproduction, group: pd.DataFrame) -> str:
    """Mean, deviation and number of seeds."""
    if group.empty:
        return "-"
    minutes = reproduction.quantity == "minutes"
    series = group["stages"].map(_last_step) / 60 if minutes else group["top1"]
    spread = f" ± {series.std():.2f}" if len(series) > 1 else ""
    return f"{series.mean():.2f}{' min' if minutes else ''}{spread} (n={len(series)})"


def _last_step(stages: str) -> float:
    """Seconds of the stack's last method; the evaluation follows it."""
    return float(json.loads(stages)[-2][1])
