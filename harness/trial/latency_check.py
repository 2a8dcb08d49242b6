"""Is a JSON value a measurement of latency? All that is wrong is named, with its path. Pydantic is loaded here."""

from __future__ import annotations

from typing import Any, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json

from harness.trial.latency import SCHEMA_VERSION, Latency
from harness.trial.record_check import worded

MOST_PROBLEMS = 8  # in one message
_ADAPTER: TypeAdapter[Latency] = TypeAdapter(
    with_config(ConfigDict(strict=True, allow_inf_nan=False, extra="forbid"))(Latency)
)


class NotALatencyError(ValueError):
    """A text that is no measurement; the message names everything that is wrong with it.

    Attributes:
        schema: The version of a measurement of another schema; None for everything else.
    """

    def __init__(self, message: str, schema: int | None = None) -> None:
        super().__init__(message)
        self.schema = schema


def parse_latency(text: str | bytes) -> Latency:
    """The measurement in a text of JSON.

    Raises:
        NotALatencyError: It is not JSON, or no measurement of this schema.
    """
    try:
        content = from_json(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text, allow_inf_nan=False)
    except ValueError as error:
        raise NotALatencyError(f"not readable as JSON: {error}") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is int and version != SCHEMA_VERSION and abs(version) < 1000:
        raise NotALatencyError(f"schema_version is {version}, expected {SCHEMA_VERSION}", version)
    problems = problems_of(content)
    if problems:
        more = len(problems) - MOST_PROBLEMS
        raise NotALatencyError("; ".join(problems[:MOST_PROBLEMS]) + (f"; and {more} more" if more > 0 else ""))
    return cast(Latency, content)


def problems_of(content: Any) -> list[str]:
    """What keeps a parsed JSON value from being a measurement, each with its path; empty for a valid one."""
    if not isinstance(content, dict):
        return [f"expected an object, found {type(content).__name__}"]
    try:
        _ADAPTER.validate_python(content)
    except ValidationError as error:
        return list(dict.fromkeys(worded(one) for one in error.errors(include_url=False, include_context=True)))
    return _impossible(cast(Latency, content))


def _impossible(measurement: Latency) -> list[str]:
    """What types do not say: a schema, at least one batch size and each once, a ratio inside its interval."""
    batches = measurement["batches"]
    found = []
    if measurement["schema_version"] != SCHEMA_VERSION:
        found.append(f"schema_version is {measurement['schema_version']}, expected {SCHEMA_VERSION}")
    if not batches or len({one["batch"] for one in batches}) < len(batches):
        found.append(f"batches has {len(batches)} entries, expected at least one and each batch size once")
    for place, one in enumerate(batches):
        if not one["low"] <= one["ratio"] <= one["high"]:
            found.append(f"batches[{place}].ratio is {one['ratio']}, expected between low and high")
    return found
