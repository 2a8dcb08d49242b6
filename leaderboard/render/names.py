"""Short names for paper-sized tables, pictures and files; full names stand beside them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from harness.models.cards import cards

LONGEST_SLUG = 24
_WORD_SETTING = re.compile(r"\b\w+=(?!True\b|False\b|None\b)([A-Za-z][\w-]*)(?=[,)])")
_SIZES = re.compile(r"_(?:patch|window)\d.*$")


def stacks(labels: Sequence[str]) -> dict[str, str]:
    """Short names of stacks by their labels: ``evolq(loss=kl)`` becomes ``evolq(kl)``; never the same for two stacks."""
    return _distinct(labels, {label: _WORD_SETTING.sub(r"\1", label) for label in labels})


def networks(models: Mapping[str, str]) -> dict[str, str]:
    """Short names of networks by their labels, numbered where several would be the same.

    Args:
        models: ``arch.tag`` by label.
    """
    short = {label: network(model) for label, model in models.items()}
    equal = {name: [label for label in short if short[label] == name] for name in short.values()}
    return {
        label: name if len(equal[name]) == 1 else f"{name} ({equal[name].index(label) + 1})" for label, name in short.items()
    }


def network(model: str) -> str:
    """The name in papers where a card has one, else the architecture without sizes; own weights are told from a tag's."""
    card = cards().get(model)
    if card is not None and card.paper_name:
        return card.paper_name
    architecture, _, tag = model.partition(".")
    short = _SIZES.sub("", architecture) or architecture
    return f"{short} ({tag[:9]})" if tag.startswith("file-") else short


def slug(text: str) -> str:
    """Part of a file name or label: letters, digits, ``_`` and ``-`` only."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text)[:LONGEST_SLUG].strip("-_").lower() or "x"


def digest(*parts: str) -> str:
    """Six hexadecimal digits that tell equal short names apart and are the same in every report."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:6]


def _distinct(labels: Sequence[str], short: Mapping[str, str]) -> dict[str, str]:
    taken = list(short.values())
    return {label: short[label] if taken.count(short[label]) == 1 else label for label in labels}
