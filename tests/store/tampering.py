"""One real record, tampered with in every place."""

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

COMMITTED = Path(__file__).parents[2] / "leaderboard" / "results" / "records.parquet"
NESTED: Any = []
for _ in range(150):  # deeper is no JSON for the reader
    NESTED = [NESTED]
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**63 - 1,
    2**63,
    10**400,
    1.5,
    1e308,
    -1e308,
    "",
    "x",
    "../../x",
    "\x1b[2J\n|`<b>",
    "=1+1",
    [],
    {},
    [{}],
    {"x": None},
    NESTED,
)


@cache
def real() -> dict[str, Any]:
    """The first committed record."""
    text = pd.read_parquet(COMMITTED, columns=["record"])["record"].iloc[0]
    content: dict[str, Any] = json.loads(text)
    return content


def places(value: Any, most: int = 2) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a JSON value; of lists the first ``most``."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))[:most]
    for key, inner in items:
        yield (key,)
        yield from ((key, *rest) for rest in places(inner, most))


def tampered(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The real record with another value in one place."""
    content = copy.deepcopy(real())
    inside: Any = content
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    return content
