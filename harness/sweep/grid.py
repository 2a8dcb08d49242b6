"""From the requested grid to the list of trials: patterns resolved, ladders expanded, duplicates removed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from harness.errors import StackError, UsageError
from harness.method.stack import Stack, check
from harness.models.cards import cards
from harness.trial.bits import Bits
from harness.trial.spec import TrialSpec


def expand(specs: Iterable[TrialSpec], *, ladder: bool = False) -> list[TrialSpec]:
    """All trials of a grid, stacks and bits in canonical form.

    Args:
        specs: Trials whose model may be a pattern.
        ladder: Also every prefix of each stack.

    Raises:
        UsageError: A pattern matches nothing, or stacks are wrong (all of them are named).
    """
    given = list(specs)
    stacks = _stacks(dict.fromkeys(spec.method for spec in given))
    widths = {text: str(Bits.parse(text)) for text in dict.fromkeys(spec.bits for spec in given)}
    cells = (
        dataclasses.replace(spec, model=model, method=method, bits=widths[spec.bits])
        for spec in given
        for model in models(spec.model)
        for method in (ladder_of(stacks[spec.method]) if ladder else [str(stacks[spec.method])])
    )
    return list({str(sorted(cell.as_dict().items())): cell for cell in cells}.values())


def _stacks(texts: Iterable[str]) -> dict[str, Stack]:
    found: dict[str, Stack] = {}
    wrong: list[StackError] = []
    for text in texts:
        try:
            found[text] = check(text)
        except StackError as error:
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        raise UsageError("\n".join(str(error) for error in wrong))
    return found


def ladder_of(stack: Stack) -> Iterator[str]:
    """The stack's prefixes, shortest first, and the stack itself; what chooses widths is nothing without its scheme."""
    for length in range(1, len(stack.steps) + 1):
        if stack.steps[length - 1].scheme is None:
            yield str(Stack(stack.steps[:length]))


def models(pattern: str) -> list[str]:
    """Model names that match a pattern: of those with a card, else of all that timm has weights for.

    Raises:
        UsageError: Nothing matches.
    """
    if not any(character in pattern for character in "*?["):
        return [pattern]
    found = [name for name in cards() if fnmatchcase(name, pattern)]
    if not found:
        import timm  # loads torch; only a pattern that no card matches needs it

        found = sorted(timm.list_pretrained(pattern if "." in pattern else f"{pattern}.*"))
    if not found:
        raise UsageError(f"no model matches {pattern!r}: see harness list models, harness list models --timm {pattern!r}")
    return found
