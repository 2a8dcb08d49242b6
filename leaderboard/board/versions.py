"""What a store has of several versions: rows of their own on the boards, and said in words here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pandas as pd

from harness.leaderboard import text


def versions_markdown(rows: pd.DataFrame) -> str:
    """Which versions of methods and of identities the done records have; empty where there is one of each.

    Args:
        rows: One row per record, as ``harness.store.table.table`` makes it.
    """
    done = rows[rows["status"] == "done"]
    lines = [*_of_methods(done), *_of_identities(done)]
    if not lines:
        return ""
    about = "Records of different versions are rows of their own; nothing is averaged over them."
    return "\n".join(["### Several versions", "", about, "", *lines])


def _of_methods(done: pd.DataFrame) -> Iterator[str]:
    """A line for each method that there are several versions of."""
    found: dict[str, Counter[int]] = {}
    for steps, number in done["methods"].value_counts().items():
        for step in json.loads(str(steps)):
            found.setdefault(str(step["name"]), Counter())[int(step["version"])] += int(number)
    for name in sorted(found):
        if len(found[name]) > 1:
            parts = (f"version {version} in {number:,} records" for version, number in sorted(found[name].items()))
            yield f"- {text.code(name)}: {', '.join(parts)}."


def _of_identities(done: pd.DataFrame) -> Iterator[str]:
    """A line for the versions of identities, where there is another one than today's."""
    found = done["identity_version"].astype(object).fillna("unknown").map(str).value_counts().sort_index()
    if len(found) > 1:
        parts = (f"{version} in {int(number):,} records" for version, number in found.items())
        yield f"- Identity version: {', '.join(parts)}. `harness store migrate` gives records of earlier ones today's id."
