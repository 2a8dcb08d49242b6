"""The portfolio: recipes that are tried. A file that users copy and change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UsageError
from harness.method import stack as stacks
from harness.trial.bits import Bits

BUILT_IN = Path(__file__).with_name("portfolio.yaml")
FORM = "expected 'recipes:' with a list of {method: <stack>, bits: [<widths>, ...]}"


@dataclass(frozen=True)
class Candidate:
    """One recipe.

    Attributes:
        stack: Canonical text.
        bits: Canonical text.
    """

    stack: str
    bits: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.stack} {self.bits}"


def read_portfolio(path: Path | None, widths: Iterable[str] = ()) -> list[Candidate]:
    """The candidates of a file, each once, in its order.

    Args:
        path: A YAML file; None for the built-in one.
        widths: Replace those of every recipe; empty for the file's own.

    Raises:
        UsageError: It cannot be read, is of another form, or a stack or width is not understood.
    """
    place = path or BUILT_IN
    chosen = list(widths)
    found = [
        Candidate(str(stacks.check(str(recipe["method"]))), str(Bits.parse(str(bits))))
        for recipe in _recipes(place)
        for bits in chosen or recipe["bits"]
    ]
    return list(dict.fromkeys(found))


def _recipes(path: Path) -> list[dict[str, Any]]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"portfolio {str(path)!r} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"portfolio {str(path)!r} is no YAML: {' '.join(str(error).split())}", FORM) from error
    recipes = content.get("recipes") if isinstance(content, dict) else None
    if not isinstance(recipes, list) or not recipes:
        raise UsageError(f"portfolio {str(path)!r} has no recipes", FORM)
    for number, recipe in enumerate(recipes, start=1):
        if not _is_recipe(recipe):
            raise UsageError(f"recipe {number} of portfolio {str(path)!r} is {recipe!r}", FORM)
    return recipes


def _is_recipe(recipe: Any) -> bool:
    if not isinstance(recipe, dict) or recipe.keys() != {"method", "bits"} or not isinstance(recipe["method"], str):
        return False
    widths = recipe["bits"]
    return isinstance(widths, list) and bool(widths) and all(isinstance(one, str) for one in widths)
