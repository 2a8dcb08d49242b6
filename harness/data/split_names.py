"""Which split of a data set is evaluated."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import DataError
from harness.trial.readers import ReaderData

USUAL = ("validation", "val", "valid", "test")  # what is evaluated where nothing is said: the first that there is


def chosen_split(asked: ReaderData, there: Sequence[str]) -> str:
    """The split to evaluate.

    Args:
        asked: The data set.
        there: Its splits.

    Raises:
        DataError: It has none that is evaluated where nothing is said, or not the one that was asked for.
    """
    if asked.evaluation:
        return asked.evaluation
    found = next((name for name in USUAL if name in there), None)
    if found is None:
        raise DataError(
            f"data {str(asked)!r} has the splits {', '.join(sorted(there)) or 'none'}, expected one of {', '.join(USUAL)}",
            f"say which one is evaluated: {asked.kind}/{asked.name}(evaluation=NAME)",
        )
    return found
