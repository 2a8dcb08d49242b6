"""Which records ``harness compare`` is asked for: by id, stack or filters; and why there are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from harness.errors import UsageError, nearest
from harness.method.stack import check
from harness.text import split_outside
from harness.trial.spec import FEATURES

FILTERS = ("stack", "model", "bits", "data", "calib", "calib_source", "seed", "protocol", "device", "commit")
SHOWN = 6


def select(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """Done records by id (or its beginning), stack, or ``column=value`` filters joined by commas outside parentheses.

    Raises:
        UsageError: Nothing matches; it names what does match and is not done.
    """
    usable = (rows["status"] == "done") & (rows["task"] != FEATURES)
    found = _matching(rows[usable], what)
    if len(found):
        return found
    known = sorted(set(map(str, rows[usable]["stack"])))
    unusable = _matching(rows[~usable], what)
    raise _unusable(what, unusable) if len(unusable) else _unknown(what, known)


def _matching(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    found = _equal(rows, "stack", _canonical(what))
    if not len(found) and what.isalnum():
        found = rows[rows["id"].str.startswith(what)]
    if not len(found) and "=" in what.partition("(")[0]:
        found = _filtered(rows, what)
    return found


def _equal(rows: pd.DataFrame, column: str, wanted: str) -> pd.DataFrame:
    """Rows with that text in a column; compared by Python, because a command line may hold what no column of text can."""
    return rows[[str(value) == wanted for value in rows[column]]]


def _canonical(what: str) -> str:
    try:
        return str(check(what))
    except UsageError:
        return what


def _filtered(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    for column, value in _filters(list(rows.columns), what):
        rows = _equal(rows, column, _canonical(value) if column == "stack" else value)
    return rows


def _filters(columns: Sequence[str], what: str) -> Iterator[tuple[str, str]]:
    """Column and value of each filter.

    Raises:
        UsageError: One has no value, or names no column.
    """
    for part in map(str.strip, split_outside(what)):
        column, equals, value = part.partition("=")
        if not equals:
            name = part if part in columns else "stack"
            wanted = "VALUE" if part in columns else part
            raise UsageError(
                f"filter {part!r} of {what!r} is not column=value", f"for example {name}={wanted}; {_columns()}"
            )
        if column not in columns:
            raise UsageError(f"unknown column {column!r}.{nearest(column, columns)}".removesuffix("."), _columns())
        yield column, value


def _columns() -> str:
    return f"columns are {', '.join(FILTERS)} and the others of harness store export"


def _unusable(what: str, rows: pd.DataFrame) -> UsageError:
    """Why the records that match cannot be compared: the first of them tells."""
    one = rows.iloc[0]
    more = f", and {len(rows) - 1} more" if len(rows) > 1 else ""
    if one["status"] == "done":
        return UsageError(
            f"no done record matches {what!r} with an accuracy: trial {one['id']} measured features{more}",
            "see them with: harness report",
        )
    reason = "" if pd.isna(one["error_kind"]) else f" ({one['error_kind']}: {' '.join(str(one['error_message']).split())})"
    hint = f"run it again: {one['command']}" if one["command"] else f"see: harness logs {one['id']}"
    return UsageError(f"no done record matches {what!r}: trial {one['id']} has {one['status']}{reason}{more}", hint)


def _unknown(what: str, stacks: Sequence[str]) -> UsageError:
    """Nothing matches at all."""
    if not stacks:
        return UsageError(f"no done record matches {what!r}: no trial is done", "start with: harness run --method fqvit")
    named = ", ".join([*stacks[:SHOWN], *(["..."] if len(stacks) > SHOWN else [])])
    return UsageError(
        f"no done record matches {what!r}.{nearest(what, stacks)} Expected an id, a stack ({named}) "
        "or filters such as stack=fqvit,bits=w4a8"
    )
