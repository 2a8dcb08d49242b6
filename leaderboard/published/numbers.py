"""Numbers from papers and repositories: loaded, checked and compared with ours. Sources that disagree are all shown."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tabulate import tabulate

from harness.errors import HarnessError
from harness.leaderboard import text
from harness.leaderboard.board.altered import altered_sign
from harness.leaderboard.board.boards import Board, BoardCell, Network
from harness.leaderboard.published.matching import measured, stands_for
from harness.models.cards import cards
from harness.trial.spec import DATA

FOLDER = Path(__file__).parent
IMAGENET_IMAGES = 50_000
CHECKPOINT_POINTS = 0.3  # full precision further apart than this is another checkpoint or another preprocessing
ROUNDING = 0.005  # published numbers have two decimals at best

# The stack of this project for a published method, wherever its table does not say otherwise (column ``stack``). A name that
# is not here has none: PSAQ-ViT-V2 is known to us from its abstract only.
STACKS = {
    "FP32": "fp32",
    "MinMax": "minmax",
    "EMA": "ema",
    "Percentile": "percentile",
    "FQ-ViT": "fqvit",
    "FQ-ViT + OMSE": "fqvit+omse",
    "FQ-ViT + OMSE + Bias Corr": "fqvit+omse+biascorr",
    "RepQ-ViT": "repqvit",
    "RepQ-ViT + QwT": "repqvit+qwt",
    "ERQ": "repqvit+erq",
    "AdaLog": "adalog",
    "AdaLog + AdaRound reconstruction": "adalog+qdrop(preset=adalog)",
    "I&S-ViT": "isvit",
    "APHQ-ViT": "relumlp+adalog(preset=uniform)+aphq",
    "LS-ViT": "adalog(preset=uniform)+lsvit",
    "PTQ4ViT": "ptq4vit",
    "BasePTQ": "easyquant(sequential=false)",
    "EasyQuant": "easyquant",
    "PTQ for ViT (Liu et al.)": "rankaware",
    "QDrop": "repqvit+qdrop",
    "FIMA-Q": "adalog(preset=uniform)+fimaq",
    "BRECQ": "repqvit+brecq",
    "PSAQ-ViT": "minmax",
    "Evol-Q": "fqvit+evolq(preset=paper)",
    "CPT-V": "fqvit+evolq(preset=paper)",  # the earlier preprint of Evol-Q
    "Evol-Q on FQ-ViT + OMSE + Bias Corr": "fqvit+omse+biascorr+evolq(preset=paper)",
    "SGD on scales": "fqvit+gradopt(optimizer=sgd)",
    "Adam on scales": "fqvit+gradopt",
    "AdamW on scales": "fqvit+gradopt(optimizer=adamw)",
}
NONE = "-"  # in the column: an experiment that no stack of ours repeats
# Published methods that calibrate on synthetic images, with our source; all others calibrate on images of the data.
SOURCES = {"PSAQ-ViT": "psaq"}


@cache
def models() -> dict[str, str]:
    """``arch.tag`` of the networks by their names in published tables, from their cards."""
    return {card.paper_name: card.name for card in cards().values() if card.paper_name}


class PublishedError(HarnessError):
    """A file of published numbers that is not what it should be."""

    kind = "data"


@dataclass(frozen=True)
class Accuracy:
    """One published accuracy.

    Attributes:
        method: As its authors call it.
        model: As the source calls it.
        weight_bits: Mean bits of weights.
        activation_bits: Mean bits of activations.
        top1: Percent on ImageNet's validation images.
        source: Paper and table, or repository.
        notes: What to know about it.
        stack: Of its experiment where the method's name does not say it; ``-`` for none.
    """

    method: str
    model: str
    weight_bits: float
    activation_bits: float
    top1: float
    source: str
    notes: str
    stack: str = ""

    @property
    def bits(self) -> str:
        """As tables show them."""
        return f"w{self.weight_bits:g}a{self.activation_bits:g}"

    @property
    def ours(self) -> str:
        """The stack that repeats its experiment; empty when there is none."""
        found = self.stack or STACKS.get(self.method, "")
        return "" if found == NONE else found


@dataclass(frozen=True)
class PublishedRuntime:
    """One published runtime; bits are None where the source does not say.

    Attributes:
        method: As its authors call it.
        model: As the source calls it.
        weight_bits: Bits of weights.
        activation_bits: Bits of activations.
        minutes: Duration.
        hardware: What it ran on.
        source: Paper and table.
        notes: What to know about it.
    """

    method: str
    model: str
    weight_bits: float | None
    activation_bits: float | None
    minutes: float
    hardware: str
    source: str
    notes: str


@cache
def accuracies(path: Path = FOLDER / "accuracies.csv") -> tuple[Accuracy, ...]:
    """All published accuracies.

    Raises:
        PublishedError: A row is not what it should be; the message names the line.
    """
    names = ("method", "model", "weight_bits", "activation_bits", "top1", "source", "notes", "stack")
    return tuple(_accuracy(path, line, row) for line, row in _rows(path, names))


@cache
def runtimes(path: Path = FOLDER / "runtimes.csv") -> tuple[PublishedRuntime, ...]:
    """All published runtimes.

    Raises:
        PublishedError: A row is not what it should be; the message names the line.
    """
    names = ("method", "model", "weight_bits", "activation_bits", "minutes", "hardware", "source", "notes")
    return tuple(_runtime(path, line, row) for line, row in _rows(path, names))


def _rows(path: Path, names: Sequence[str]) -> Iterable[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            if tuple(reader.fieldnames or ()) != tuple(names):
                raise PublishedError(f"{path.name}: columns are {reader.fieldnames}, expected {list(names)}")
            rows = [(reader.line_num, dict(row)) for row in reader]
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise PublishedError(f"{path.name} cannot be read: {error}") from error
    return rows


def _accuracy(path: Path, line: int, row: dict[str, str]) -> Accuracy:
    weights, activations = _bits(path, line, row["weight_bits"]), _bits(path, line, row["activation_bits"])
    top1 = _number(path, line, "top1", row["top1"], 0, 100)
    _check_named(path, line, row)
    rest = row["source"], row["notes"] or "", row["stack"] or ""
    return Accuracy(row["method"], row["model"], weights, activations, top1, *rest)


def _runtime(path: Path, line: int, row: dict[str, str]) -> PublishedRuntime:
    weights = _bits(path, line, row["weight_bits"]) if row["weight_bits"] else None
    activations = _bits(path, line, row["activation_bits"]) if row["activation_bits"] else None
    minutes = _number(path, line, "minutes", row["minutes"], 0, math.inf)
    _check_named(path, line, row)
    if not row["hardware"]:
        raise PublishedError(f"{path.name}, line {line}: no hardware: a runtime without it cannot be compared with any")
    return PublishedRuntime(
        row["method"], row["model"], weights, activations, minutes, row["hardware"], row["source"], row["notes"]
    )


def _check_named(path: Path, line: int, row: dict[str, str]) -> None:
    empty = next((name for name in ("method", "model", "source") if not (row[name] or "").strip()), None)
    if empty:
        raise PublishedError(f"{path.name}, line {line}: {empty} is empty")


def _bits(path: Path, line: int, value: str) -> float:
    return _number(path, line, "bits", value, 1, 32)


def _number(path: Path, line: int, name: str, value: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise PublishedError(f"{path.name}, line {line}: {name} is {value!r}, expected a number") from None
    if not low < number <= high:
        raise PublishedError(f"{path.name}, line {line}: {name} is {number:g}, expected more than {low:g} up to {high:g}")
    return number


@dataclass(frozen=True)
class Comparison:
    """A published number compared with ours.

    Attributes:
        published: The published number.
        cell: Ours; None where nothing was measured.
        verdict: ``within noise``, ``better``, ``worse``, ``not comparable``, ``published only``.
        why: What keeps them from being compared.
    """

    published: Accuracy
    cell: BoardCell | None
    verdict: str
    why: str = ""


def compare(boards: Sequence[Board], numbers: Sequence[Accuracy] | None = None) -> list[Comparison]:
    """Every published number of the networks and bit-widths on the boards."""
    found: list[Comparison] = []
    for number in accuracies() if numbers is None else numbers:
        for board in boards:
            if number.bits != board.bits:
                continue
            networks = [network for network in board.networks if network.published.name == models().get(number.model)]
            found += [_compared(number, board, network) for network in networks]
    return found


def _compared(number: Accuracy, board: Board, network: Network) -> Comparison:
    """A number beside the row that stands for its experiment."""
    fits = bool(number.ours) and same_source(number.method, board)
    recipe = stands_for(number.ours, measured(board, network)) if fits else None
    if recipe is None:
        return Comparison(number, None, "published only")
    cell = board.cells[recipe, network]
    if network.published.departs:
        return Comparison(number, cell, "not comparable", f"other weights: {network.published.departs}")
    if recipe.stack != number.ours:
        return Comparison(number, cell, "not comparable", f"other settings: {recipe.stack}")
    return _judged(number, cell, board)


def same_source(method: str, board: Board) -> bool:
    """Whether the calibration images of a published method came from where a board's images came from."""
    return SOURCES.get(method, DATA) == board.calib_source.partition("(")[0]


def _judged(number: Accuracy, cell: BoardCell, board: Board) -> Comparison:
    if board.images != IMAGENET_IMAGES:
        why = f"{board.images or '?'} evaluation images of {board.data}, published on ImageNet's {IMAGENET_IMAGES:,}"
        return Comparison(number, cell, "not comparable", why)
    full = [one.top1 for one in accuracies() if one.model == number.model and one.method == "FP32"]
    if full and min(abs(cell.top1_fp32 - one) for one in full) > CHECKPOINT_POINTS:
        theirs = ", ".join(f"{one:.2f}" for one in sorted(set(full)))
        why = f"another checkpoint: full precision {cell.top1_fp32:.2f} here, {theirs} published"
        return Comparison(number, cell, "not comparable", why)
    images, share = IMAGENET_IMAGES, cell.mean / 100
    noise = 1.96 * math.hypot(cell.deviation or 0.0, 100 * math.sqrt(2 * share * (1 - share) / images)) + ROUNDING
    difference = cell.mean - number.top1
    verdict = "within noise" if abs(difference) <= noise else "better" if difference > 0 else "worse"
    return Comparison(number, cell, verdict)


def comparison_markdown(found: Sequence[Comparison]) -> str:
    """The comparison as a table; empty when no published number fits."""
    if not found:
        return ""
    headers = ("model", "bits", "published as", "published", "source", "here", "difference", "verdict")
    lines = [
        [
            text.markdown(one.published.model),
            one.published.bits,
            text.markdown(one.published.method),
            f"{one.published.top1:.2f}",
            text.markdown(one.published.source + (f" ({one.published.notes})" if one.published.notes else "")),
            f"{one.cell.mean:.2f}{altered_sign(one.cell.altered)}" if one.cell else "-",
            f"{one.cell.mean - one.published.top1:+.2f}" if one.cell else "-",
            one.verdict + (f": {text.markdown(one.why)}" if one.why else ""),
        ]
        for one in found
    ]
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)
