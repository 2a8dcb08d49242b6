"""A paper's table in its order and shape: published and measured values side by side, and a title that does not pretend."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
from tabulate import tabulate

from harness.leaderboard import text
from harness.leaderboard.published.numbers import (
    IMAGENET_IMAGES,
    Accuracy,
    PublishedRuntime,
    accuracies,
    models,
    runtimes,
)
from harness.method.calibration_source import check_source
from harness.method.stack import check
from harness.models.cards import cards
from harness.trial.spec import DATA, TrialSpec

Published = Accuracy | PublishedRuntime
Place = tuple[str, str]  # a stack and where its calibration images come from


@dataclass(frozen=True)
class OwnRow:
    """A row of the table that needs something else than the grid's values.

    Attributes:
        name: Its published name.
        method: Stack in canonical form.
        values: Fields of the trial that differ from the grid's.
    """

    name: str
    method: str
    values: Mapping[str, Any]

    @property
    def place(self) -> Place:
        """Its stack and calibration source."""
        return self.method, str(self.values.get("calib_source", DATA))


@dataclass(frozen=True)
class Reproduction:
    """What an experiment reproduces.

    Attributes:
        source: Beginning of the source's name in the published numbers.
        quantity: ``top1`` in percent, or ``minutes`` of the search.
        rows: Published name of each stack of the grid.
        note: What to know about it.
        scaled_down: Values of the grid for a machine without ImageNet.
        variants: Names of stacks that are measured beside the published ones.
        own: Rows beside the grid.
    """

    source: str
    quantity: str
    rows: Mapping[str, str]
    note: str
    scaled_down: Mapping[str, Any]
    variants: Mapping[str, str] = field(default_factory=dict)
    own: Sequence[OwnRow] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any], *, small: bool = False) -> Reproduction:
        """From an experiment's file; stacks in canonical form.

        Args:
            content: Its section ``reproduces``.
            small: Rows beside the grid take the values that they have for a machine without ImageNet.
        """
        rows = {str(check(stack)): name for stack, name in content["rows"].items()}
        variants = {str(check(stack)): name for stack, name in content.get("variants", {}).items()}
        own = tuple(_own({**row, **(row.get("scaled_down", {}) if small else {})}) for row in content.get("own", ()))
        note = content.get("note", "")
        return cls(content["source"], content["quantity"], rows, note, content["scaled_down"], variants, own)

    def beside(self, grid: Sequence[TrialSpec]) -> list[TrialSpec]:
        """The trials of the rows beside the grid: on its networks, bit-widths and seeds."""
        found = [replace(spec, method=row.method, **row.values) for row in self.own for spec in grid]
        return list({str(sorted(spec.as_dict().items())): spec for spec in found}.values())

    def name(self, place: Place) -> str:
        """Published name of what was measured; empty for none."""
        names = {row.place: row.name for row in self.own}
        return names.get(place) or (self.rows.get(place[0], "") if place[1] == DATA else "")


def _own(row: Mapping[str, Any]) -> OwnRow:
    values = {name: value for name, value in row.items() if name not in ("name", "method", "scaled_down")}
    if "calib_source" in values:
        values["calib_source"] = str(check_source(values["calib_source"]) or DATA)
    return OwnRow(row["name"], str(check(row["method"])), values)


def title(reproduction: Reproduction, measured: pd.DataFrame) -> str:
    """What was run, in one honest line: the paper's table only on its networks with all of ImageNet's images."""
    if measured.empty:
        return f"{reproduction.source}: nothing measured"
    names = {card.name for card in cards().values() if card.paper_name}
    networks, images = sorted(measured["model"].unique()), sorted(measured["n_images"].unique())
    if set(networks) <= names and images == [IMAGENET_IMAGES]:
        return f"{reproduction.source}, on its networks and ImageNet's {IMAGENET_IMAGES:,} validation images"
    data = ", ".join(sorted(measured["data"].unique()))
    counts = ", ".join(f"{count:,}" for count in images)
    return (
        f"NOT {reproduction.source}: its stacks, scaled down to {', '.join(networks)} with {counts} evaluation images of "
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


@dataclass(frozen=True)
class _Line:
    """A row of a table.

    Attributes:
        label: What it is called.
        method: Its published name; empty for none.
        what: Stack and calibration images.
        group: Its trials; empty when it is published only.
    """

    label: str
    method: str
    what: tuple[str, str]
    group: pd.DataFrame = field(repr=False)


def _table(reproduction: Reproduction, measured: pd.DataFrame, bits: str) -> str:
    published = _published(reproduction, bits)
    columns = list(_columns(published, measured))
    lines = [
        [text.markdown(line.label), *line.what, *(_value(reproduction, published, line, *column) for column in columns)]
        for line in _lines(reproduction, published, measured)
    ]
    headers = ["published as", "stack", "images", *(text.markdown(_heading(*column)) for column in columns)]
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def _columns(published: Sequence[Published], measured: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """The paper's networks in its order, each with ours beside it, then other networks: name in the paper, name in timm."""
    here = list(measured["model"].drop_duplicates())
    known = {name: models().get(name, "") for name in dict.fromkeys(one.model for one in published)}
    for name, model in known.items():
        yield name, ""
        if model in here:
            yield name, model
    yield from (("", model) for model in here if model not in known.values())


def _heading(name: str, model: str) -> str:
    return f"{name} here" if name and model else f"{name} published" if name else f"here: {model}"


def _lines(reproduction: Reproduction, published: Sequence[Published], measured: pd.DataFrame) -> Iterator[_Line]:
    """Rows in the paper's order, also those that were not measured, then what is ours alone."""
    found = [
        _line(reproduction, (str(stack), str(source)), str(calib), group)
        for (stack, source, calib), group in measured.groupby(["stack", "calib_source", "calib"], sort=False)
    ]
    methods = list(dict.fromkeys(one.method for one in published))
    for method in methods:
        only = _Line(method, method, ("published only", "-"), measured.iloc[:0])
        yield from [line for line in found if line.method == method] or [only]
    yield from (line for line in found if line.method not in methods)


def _line(reproduction: Reproduction, place: Place, calib: str, group: pd.DataFrame) -> _Line:
    name, images = reproduction.name(place), calib + ("" if place[1] == DATA else f" by {place[1]}")
    label = name or reproduction.variants.get(place[0], "-")
    return _Line(label, name, (text.code(place[0]), text.markdown(images)), group)


def _published(reproduction: Reproduction, bits: str) -> list[Published]:
    if reproduction.quantity == "minutes":
        return [one for one in runtimes() if one.source.startswith(reproduction.source)]
    return [one for one in accuracies() if one.source.startswith(reproduction.source) and one.bits == bits]


def _value(reproduction: Reproduction, published: Iterable[Published], line: _Line, name: str, model: str) -> str:
    """One place of the table: ours where a network is named as timm calls it, else the published value."""
    if model:
        return _measured(reproduction, line.group[line.group["model"] == model])
    found = [one for one in published if line.method and one.method == line.method and one.model == name]
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
