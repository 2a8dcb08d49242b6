"""What is known of the networks of the papers: one YAML file each in ``conf/model/``. Imports no torch.

Any other classifier of timm works too; a card adds where its blocks are, what full precision should reach, and what
capture must find.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from harness.errors import UsageError, nearest

FOLDER = Path(__file__).resolve().parents[1] / "conf" / "model"
# timm's names: blocks.3 (ViT), layers.0.blocks.1 (Swin), stages.1.blocks.2 (LeViT), layer2.0 (ResNet), s3.b4 (RegNet).
BLOCK_PATTERN = r"(?:blocks\.\d+|layer\d+\.\d+|s\d+\.b\d+)$"


@dataclass(frozen=True)
class Anchor:
    """Published full-precision accuracy.

    Attributes:
        top1: Percent.
        images: Number of evaluation images.
        source: Where it is published.
    """

    top1: float
    images: int
    source: str


@dataclass(frozen=True)
class Expected:
    """What capture and FQ-ViT's rule find in the network.

    Attributes:
        blocks: Segments that are blocks.
        weights: Weights.
        values: Values and constants that get a quantizer.
        power_of_two: Those of them with power-of-two factors.
        image: Whether the input image is quantized.
    """

    blocks: int
    weights: int
    values: int
    power_of_two: int
    image: bool


@dataclass(frozen=True)
class Card:
    """One network.

    Attributes:
        name: ``arch.tag``.
        family: Name of the family, for display.
        about: One line.
        blocks: Regular expression that a block's module path ends with.
        expected: What capture must find.
        tested: What the test-suite runs: ``real weights``, ``whole network with random weights`` or ``structure``.
        paper_name: Its name in published tables; empty where no table has it.
        paper_preprocessing: Where the papers' preprocessing differs from timm's.
        anchor: Published accuracy in full precision.
        weights_sha256: Hash of the tag's own weights (``harness run`` prints it for a download); empty where nobody has
            looked. A file with this content bears the tag's name, any other one does not.
        copies: Known files with the tag's network whose content departs from the tag's, by the hash of their weights, and
            how they depart. They do not bear the tag's name; its published numbers are shown beside them with the reason.
    """

    name: str
    family: str
    about: str
    blocks: str
    expected: Expected
    tested: str
    paper_name: str = ""
    paper_preprocessing: Mapping[str, str] = field(default_factory=dict)
    anchor: Anchor | None = None
    weights_sha256: str = ""
    copies: Mapping[str, str] = field(default_factory=dict)


@cache
def cards() -> dict[str, Card]:
    """All cards by ``arch.tag``."""
    found = [_read(path) for path in sorted(FOLDER.glob("*.yaml"))]
    return {card.name: card for card in found}


def _read(path: Path) -> Card:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["expected"] = Expected(**content["expected"])
    content["anchor"] = Anchor(**content["anchor"]) if "anchor" in content else None
    content["paper_preprocessing"] = {key: str(value) for key, value in content.get("paper_preprocessing", {}).items()}
    return Card(**content)


@dataclass(frozen=True)
class Published:
    """The network of the papers that some weights are, or are a copy of.

    Attributes:
        name: ``arch.tag``.
        departs: How a copy departs from the tag's own weights; empty for these.
    """

    name: str
    departs: str = ""


def published_as(name: str, weights_sha256: str) -> Published:
    """Whose published numbers belong beside a network.

    Args:
        name: What the network is called in its record.
        weights_sha256: Hash of its weights.
    """
    copies = (card for card in cards().values() if weights_sha256 in card.copies)
    card = next(copies, None) if name not in cards() else None
    return Published(name) if card is None else Published(card.name, card.copies[weights_sha256])


def block_pattern(name: str) -> str:
    """Regular expression of a network's block paths; the general one where there is no card."""
    card = cards().get(name)
    return card.blocks if card is not None else BLOCK_PATTERN


def preprocessing_overrides(name: str, given: Mapping[str, str]) -> dict[str, str]:
    """Preprocessing overrides with ``recipe=paper`` replaced by what the papers used for the network.

    Raises:
        UsageError: The recipe is unknown, or nothing is known of the papers' preprocessing.
    """
    overrides = dict(given)
    recipe = overrides.pop("recipe", "timm")
    if recipe not in ("timm", "paper"):
        raise UsageError(
            f"unknown preprocessing recipe {recipe!r}.{nearest(recipe, ('timm', 'paper'))} Expected timm or paper"
        )
    if recipe == "timm":
        return overrides
    card = cards().get(name)
    if card is None:
        raise UsageError(
            f"no preprocessing of a paper is known for {name!r}.{nearest(name, cards())}", "see: harness list models"
        )
    return {**card.paper_preprocessing, **overrides}
