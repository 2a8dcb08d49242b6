"""The portfolio: recipes that are tried. A file that users copy and change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UsageError
from harness.method import registry
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


def listed(widths: str | None) -> list[str]:
    """Widths joined by commas; none where nothing is given."""
    return widths.split(",") if widths else []


def read_portfolio(path: Path | None, widths: Iterable[str] = ()) -> list[Candidate]:
    """The candidates of a file, each once, in its order.

    Args:
        path: A YAML file; None for the built-in one.
        widths: Replace those of every recipe; empty for the file's own.

    Raises:
        UsageError: It cannot be read, is of another form, or a stack or width is not understood; with the recipe's number.
    """
    chosen = [str(Bits.parse(one)) for one in widths]
    found: list[Candidate] = []
    for place, recipe in _recipes(path or BUILT_IN):
        with _named(place):
            stack = str(stacks.check(recipe["method"]))
            found += [Candidate(stack, bits) for bits in chosen or [str(Bits.parse(one)) for one in recipe["bits"]]]
    return list(dict.fromkeys(found))


def check_portfolio(path: Path | None, widths: Iterable[str] = ()) -> None:
    """Refuse what can be seen without the modules of methods, so without torch: form, widths, names of methods.

    Args:
        path: As in ``read_portfolio``.
        widths: Likewise.

    Raises:
        UsageError: As there.
    """
    known, chosen = registry.available(), [Bits.parse(one) for one in widths]
    for place, recipe in _recipes(path or BUILT_IN):
        with _named(place):
            if any(step.name not in known for step in stacks.parse(recipe["method"])):
                stacks.check(recipe["method"])
            _ = chosen or [Bits.parse(one) for one in recipe["bits"]]


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Say which recipe a mistake is in."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{place}: {error.message}", error.hint) from error


def _recipes(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The recipes of a file, each with its place in words."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"portfolio {str(path)!r} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"portfolio {str(path)!r} is no YAML: {' '.join(str(error).split())}", FORM) from error
    recipes = content.get("recipes") if isinstance(content, dict) else None
    if not isinstance(recipes, list) or not recipes:
        raise UsageError(f"portfolio {str(path)!r} has no recipes", FORM)
    found = [(f"recipe {number} of portfolio {str(path)!r}", recipe) for number, recipe in enumerate(recipes, start=1)]
    wrong = next((f"{place} is {recipe!r}" for place, recipe in found if not _is_recipe(recipe)), None)
    if wrong is not None:
        raise UsageError(wrong, FORM)
    return found


def _is_recipe(recipe: Any) -> bool:
    if not isinstance(recipe, dict) or recipe.keys() != {"method", "bits"} or not isinstance(recipe["method"], str):
        return False
    widths = recipe["bits"]
    return isinstance(widths, list) and bool(widths) and all(isinstance(one, str) for one in widths)
