"""Records of earlier versions in today's form: a function per version, each giving the form of the next.

``SCHEMA`` is applied whenever a record is read: nothing but the form changes. ``IDENTITY`` gives a record another id, so it
is applied only where records are taken over: ``harness store migrate`` and ``harness store import``.

A migration never claims what was not measured. Versions of methods stay as they were: a record of ``omse`` version 1 is no
result of version 2, and gets no id of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from harness.trial.identity import ID_VERSION, content_id
from harness.trial.record import Identity, Record

Content = dict[str, Any]
# Schema version of a record -> the record in the form of the next version. None yet: version 1 is the first.
SCHEMA: dict[int, Callable[[Content], Content]] = {}

# Until ``blocks`` joined the identity, one pattern found the blocks of every network.
FORMER_BLOCKS = r"(?:blocks\.\d+|layer\d+\.\d+|s\d+\.b\d+)$"
# Today's patterns of single networks, for which the former one finds the same blocks. LeViT's has more and is not here.
SAME_BLOCKS = (r"blocks\.\d+$", r"layers\.\d+\.blocks\.\d+$", r"layer\d+\.\d+$", r"s\d+\.b\d+$", FORMER_BLOCKS)


class IdentityStep(NamedTuple):
    """How an identity becomes one of the next version.

    Attributes:
        why: One line; the record keeps it.
        change: Gets the identity and what the network's block pattern is today.
    """

    why: str
    change: Callable[[Identity, str], Identity]


def _with_blocks(identity: Identity, pattern: str) -> Identity:
    return {**identity, "blocks": pattern if pattern in SAME_BLOCKS else FORMER_BLOCKS}


# Version of an identity -> the step to the next one. ``blocks`` joined the identity while its number stayed 1, so an
# identity without it is called version 0 here.
IDENTITY: dict[int, IdentityStep] = {
    0: IdentityStep("the pattern of blocks joined the identity; the same blocks were searched before", _with_blocks)
}


def to_schema(content: Content, version: int) -> Content:
    """A record in the form of a schema version, where there are functions that lead to it; else as it is."""
    while type(content.get("schema_version")) is int and content["schema_version"] < version:
        step = SCHEMA.get(content["schema_version"])
        if step is None:
            break
        content = step(content)
    return content


def identity_version(identity: Mapping[str, Any], trial: str) -> int | None:
    """The version of the identity that gives a trial its id; None when none does.

    Args:
        identity: What the id should be the hash of.
        trial: The id.
    """
    if "blocks" not in identity:
        return 0 if content_id(identity, 1) == trial else None
    return next((number for number in range(ID_VERSION, 0, -1) if content_id(identity, number) == trial), None)


def to_identity(record: Record, blocks: Callable[[str], str]) -> Record:
    """A record with the id that the same trial has today.

    Args:
        record: A record; it is not changed.
        blocks: Today's pattern of blocks of a network, by its name.

    Returns:
        The record with its identity and id of today, and with the note ``migrated``; the given one where nothing changes:
        its identity is of today, it has none (the trial never ran), or its id is not the hash of its identity.
    """
    identity, version = record["spec"], None
    if identity:
        version = identity_version(identity, record["id"])
    if version is None or version == ID_VERSION:
        return record
    reasons = []
    while version in IDENTITY:
        reasons.append(IDENTITY[version].why)
        identity = IDENTITY[version].change(identity, blocks(record["model"]))
        version += 1
    if version != ID_VERSION:
        return record
    note = {"id": record["id"], "why": "; ".join(reasons)}
    return cast(Record, {**record, "id": content_id(identity), "spec": identity, "migrated": note})
