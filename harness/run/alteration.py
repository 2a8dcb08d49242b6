"""A finished network with another one in its place: integer LayerNorms in floating point (``--float-layernorm``).

The trial is one of its own, with an id of its own. Its stack is that of the trial without the alteration, so what that one
has stored is taken over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import IncompatibleError
from harness.quant.network.qmodel import QuantizedModel
from harness.quant.network.state import load_state
from harness.run.work import Done, Given
from harness.store.reading import sha256_of
from harness.store.store import STATE
from harness.trial.identity import content_id
from harness.trial.record import Record
from harness.trial.spec import FLOAT_LAYERNORM


def original_id(identity: Mapping[str, Any]) -> str:
    """Id of the trial without the alteration.

    Args:
        identity: Of the altered one.
    """
    return content_id({name: value for name, value in identity.items() if name != FLOAT_LAYERNORM})


def take_over_original(given: Given, done: Done, model: QuantizedModel) -> bool:
    """Put the state that the trial without the alteration has stored into the model, and its stages into the record.

    Returns:
        Whether there was one.
    """
    if not given.reuse:
        return False
    found = given.store.get(original_id(given.prepared.identity))
    if found is None or not _is_whole(given, found):
        return False
    load_state(model, given.store.folder(found["id"]) / STATE)
    done.stages.reuse(
        found["stages"][1:-1], given.prepared.prefixes[-1], dict(found["environment"])
    )  # no capture, no result
    return True


def _is_whole(given: Given, record: Record) -> bool:
    """Whether a trial is finished and its state is the one that it wrote."""
    path, expected = given.store.folder(record["id"]) / STATE, record.get("files", {}).get(STATE)
    return record["status"] == "done" and expected is not None and path.is_file() and sha256_of(path) == expected


def float_layernorms(model: QuantizedModel) -> None:
    """Compute every integer LayerNorm in floating point; quantizers stay as they are.

    Raises:
        IncompatibleError: There is none.
    """
    edits = model.edits
    if not edits.integer_norms:
        raise IncompatibleError("no LayerNorm runs on integers: there is nothing to alter", "leave out --float-layernorm")
    edits.float_norms.update(edits.integer_norms)
    edits.integer_norms.clear()
    edits.undefined_norms.clear()
