"""Records of trials that never ran, or whose process died: nothing is lost, the reason stays."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from harness.trial.fields import IdRule, SpecField, fields_of
from harness.trial.identity import content_id
from harness.trial.record import SCHEMA_VERSION, Environment, Record, Status, as_kind
from harness.trial.spec import TrialSpec

# The fields that these ids always held. Those that came later are in an id where they say something.
FIRST = ("method", "model", "weights", "data", "bits", "calib", "calib_source", "seed", "eval_limit", "preprocess")


def skipped_id(spec: TrialSpec) -> str:
    """Id of a cell whose real id cannot be computed, because its network or data cannot be loaded."""
    fields = [(one, one.plain(getattr(spec, one.name))) for one in fields_of(type(spec)) if one.is_identity]
    values = {one.name: value for one, value in fields if one.name in FIRST or value != _silent(one)}
    return content_id({"what": "skipped", **values})


def _silent(field: SpecField) -> Any:
    """The value of a later field that says nothing: what all trials had before there was the field."""
    return field.about.earlier if field.about.identity is IdRule.DIFFERS else field.default


def unrun(spec: TrialSpec, trial: str, status: Status, kind: str, message: str, environment: Mapping[str, Any]) -> Record:
    """A record without results.

    Args:
        spec: What was asked for.
        trial: Its id.
        status: ``failed`` or ``skipped``.
        kind: Kind of the error.
        message: The reason.
        environment: Facts about the machine that noticed.
    """
    return Record(
        schema_version=SCHEMA_VERSION,
        id=trial,
        status=status,
        model=spec.model,
        data={"name": spec.data_name, "fingerprint": "", "eval_limit": spec.eval_limit},
        bits=spec.bits,
        stack=spec.method,
        calib=spec.calib,
        calib_source=spec.calib_source,
        seed=spec.seed,
        asked=spec.as_dict(),
        protocol="strict",
        stages=[],
        seconds=0.0,
        spec={},
        command=spec.command(spec.method),
        environment=cast(Environment, dict(environment)),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        error={"kind": as_kind(kind), "message": message, "traceback": ""},
    )
