"""Is a JSON value a record? Every file and every import goes through here; all that is wrong is named, with its path.

Apart from the types, because pydantic takes a tenth of a second to load and most of the command line does without.
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic_core import ErrorDetails, from_json

from harness.trial.fields import LARGEST_INTEGER
from harness.trial.identity import ID_LENGTH
from harness.trial.migration import to_schema
from harness.trial.record import NOT_DONE, SCHEMA_VERSION, ClassCounts, Record
from harness.trial.spec import CLASSIFICATION, FEATURES

REQUIRED_DONE = ("metrics", "on_grid", "coverage", "size_bytes", "bit_operations")
METRICS_DONE = {
    CLASSIFICATION: ("top1", "top1_fp32", "agreement", "n_images", "n_correct"),
    FEATURES: ("feature_cosine", "feature_mse", "n_images"),
}
MOST_PROBLEMS = 8  # in one message
# Strict: true is no number and "8" is none either. NaN and infinity are in no result.
_ADAPTER: TypeAdapter[Record] = TypeAdapter(with_config(ConfigDict(strict=True, allow_inf_nan=False))(Record))
_LARGE = re.compile(rb"[eE]\+?\d{3}|\d{300}")  # what a number that is read as infinity looks like
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "string_unicode": "text in Unicode",
    "predicate_failed": f"{ID_LENGTH} hexadecimal digits",
    "bool_type": "true or false",
    "dict_type": "an object",
    "list_type": "a list",
    "none_required": "null",
}


class NotARecordError(ValueError):
    """A text that is no record; the message names everything that is wrong with it.

    Attributes:
        schema: The version of a record of another schema; None for everything else.
    """

    def __init__(self, message: str, schema: int | None = None) -> None:
        super().__init__(message)
        self.schema = schema


def parse_record(text: str | bytes) -> Record:
    """The record in a text of JSON: what every file and every import goes through.

    Raises:
        NotARecordError: It is not JSON, or not a record of this schema.
    """
    try:
        content = from_json(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text, allow_inf_nan=False)
    except ValueError as error:
        raise NotARecordError(f"not readable as JSON: {error}") from error
    if isinstance(content, dict):
        content = to_schema(content, SCHEMA_VERSION)
    problems = problems_of(content) or _not_finite(text, content)
    if problems:
        raise NotARecordError(_joined(problems), _other_schema(content))
    return cast(Record, content)


def _not_finite(text: str | bytes, content: Any) -> list[str]:
    """1e999 in the free parts of a record is read as infinity, which no JSON can hold: it could not be written again."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if _LARGE.search(raw) is None:
        return []
    try:
        json.dumps(content, allow_nan=False)
    except ValueError:
        return ["holds a number that is not finite"]
    return []


def _joined(problems: list[str]) -> str:
    more = len(problems) - MOST_PROBLEMS
    return "; ".join(problems[:MOST_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


def _other_schema(content: Any) -> int | None:
    found = content.get("schema_version") if isinstance(content, dict) else None
    return found if type(found) is int and found != SCHEMA_VERSION and abs(found) < 1000 else None


def problems_of(content: Any) -> list[str]:
    """What keeps a parsed JSON value from being a record, each with its path; empty for a valid one."""
    if not isinstance(content, dict):
        return [f"expected an object, found {type(content).__name__}"]
    if content.get("schema_version") != SCHEMA_VERSION:  # then nothing else can be said
        return [f"schema_version is {_shown(content.get('schema_version'))}, expected {SCHEMA_VERSION}"]
    problems = _missing(content)
    try:
        _ADAPTER.validate_python(content)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
        problems = [worded(detail) for detail in details] + problems
    return list(dict.fromkeys(problems)) or _impossible(cast(Record, content))


def _missing(content: dict[str, Any]) -> list[str]:
    """What a record of this status has to have besides."""
    if content.get("status") in NOT_DONE:
        return [] if "error" in content else ["error is missing"]
    if content.get("status") != "done":
        return []
    metrics = content.get("metrics")
    spec = content.get("spec")
    features = isinstance(spec, dict) and spec.get("task") == FEATURES
    inside = METRICS_DONE[FEATURES if features else CLASSIFICATION] if isinstance(metrics, dict) else ()
    return [
        *(f"{name} is missing" for name in REQUIRED_DONE if name not in content),
        *(f"metrics.{name} is missing" for name in inside if name not in cast(dict[str, Any], metrics)),
    ]


def _impossible(record: Record) -> list[str]:
    """Counts of images that are larger than the number of images."""
    metrics = cast(dict[str, Any], record.get("metrics", {}))
    images = metrics.get("n_images", LARGEST_INTEGER)
    return _uncounted(record.get("classes"), images) + [
        f"metrics.{name} is {value}, expected at most n_images, {images}"
        for name, value in metrics.items()
        if name.startswith("n_") and type(value) is int and value > images
    ]


def _uncounted(classes: ClassCounts | None, images: int) -> list[str]:
    """Counts of classes that no evaluation gives."""
    if classes is None:
        return []
    lists: list[list[int]] = [classes[name] for name in ("index", "images", "right_fp32", "lost", "gained")]
    if len(set(map(len, lists))) > 1 or not lists[0]:
        return ["classes has lists of different lengths, or empty ones"]
    index, counts, full, lost, gained = lists
    if len(set(index)) < len(index) or min(counts) < 1:
        return ["classes names a class twice, or one without images"]
    possible = all(
        down <= right and up <= count - right for count, right, down, up in zip(counts, full, lost, gained, strict=True)
    )
    if not possible or sum(counts) != images:
        return [f"classes counts other images than there are, expected {images} in all and at most those of a class"]
    return []


def worded(detail: ErrorDetails) -> str:
    """One of pydantic's complaints in plain words, with the path of the value."""
    kind, context = detail["type"], detail.get("ctx", {})
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).removeprefix(".")
    if kind == "missing":
        return f"{path} is missing"
    expected = _EXPECTED.get(kind)
    if kind == "literal_error":
        choices = context["expected"].replace("'", "").replace(" or ", ", ")
        expected = f"one of {choices}" if "," in choices else choices
    elif kind in ("greater_than_equal", "less_than_equal"):
        word, bound = ("at least", context["ge"]) if "ge" in context else ("at most", context["le"])
        expected = f"{word} {int(bound)}"
    path = path or "the whole"
    return f"{path} is {_shown(detail['input'])}, expected {expected or detail['msg']}"


def _shown(value: Any) -> str:
    """A value on one short line; large ones by their type."""
    text = repr(value) if isinstance(value, (str, int, float, bool, type(None))) else f"of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
