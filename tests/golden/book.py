"""The file of golden results, what has moved against it, and what may be written over."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.golden.digest import State, far_apart
from tests.golden.trials import Identity

FILE = Path(__file__).with_name("golden.json")
REGENERATE = "python -m tests.golden"


@dataclass(frozen=True)
class Entry:
    """What is known of one golden trial.

    Attributes:
        identity: Its names and the versions behind them.
        state: What its methods left behind; digests of several machines stand side by side.
        accepted: Why it was written over although no version changed; empty where that was never done.
    """

    identity: Identity
    state: State
    accepted: str = ""


def read(path: Path = FILE) -> dict[str, Entry]:
    """All entries by the name of their trial."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: Entry(
            Identity(**{**entry["identity"], "prefixes": tuple(entry["identity"]["prefixes"])}),
            State(**entry["state"]),
            entry["accepted"],
        )
        for name, entry in entries.items()
    }


def write(entries: Mapping[str, Entry], path: Path = FILE) -> None:
    """Write all entries; what holds no other table stands on one line, so that a change can be read in a diff."""
    text = json.dumps({name: asdict(entry) for name, entry in entries.items()}, indent=1)
    text = re.sub(r"([{[])([^{}[\]]*)([}\]])", lambda found: found[1] + " ".join(found[2].split()) + found[3], text)
    path.write_text(text + "\n", encoding="utf-8")


def moved_identity(now: Identity, golden: Identity) -> list[str]:
    """How a trial's names differ, one text each."""
    found = [] if now.id == golden.id else [f"id {golden.id} -> {now.id}"]
    if now.prefixes != golden.prefixes:
        found.append(f"prefixes {', '.join(golden.prefixes)} -> {', '.join(now.prefixes)}")
    return found


def moved_state(now: State, golden: State, tolerance: float) -> list[str]:
    """How a state differs, one text each: to the bit on a machine that the file knows, within tolerances on others."""
    found = [] if now.facts == golden.facts else ["other quantizers: sites, bits, formats or axes"]
    for kind in sorted({*now.summary, *golden.summary}):
        ours, theirs = now.summary.get(kind), golden.summary.get(kind)
        if ours is None or theirs is None:
            found.append(f"{kind}: {'is gone' if ours is None else 'is new'}")
        else:
            found += far_apart(kind, ours, theirs, tolerance)
    for machine in now.digests.keys() & golden.digests.keys():
        if now.digests[machine] != golden.digests[machine]:
            found.append(f"digest {golden.digests[machine][:12]} -> {now.digests[machine][:12]} on the same machine")
    return found


def may_move(now: Identity, golden: Identity) -> bool:
    """Whether a version tells of the change: of the identity, or of a method that takes part."""
    return now.versions != golden.versions


def advice(name: str, versions: Mapping[str, int], moved: list[str]) -> str:
    """What a failing test says."""
    methods = " or ".join(method for method in versions if method != "ID_VERSION")
    lines = [
        f"golden trial {name!r} has moved:",
        *(f"  {text}" for text in moved),
        "If that is not meant, undo it. If it is:",
    ]
    lines += [
        f"  1. raise version= in @register of the method whose results change ({methods}), or, where what an id is",
        "     the hash of changes, ID_VERSION in harness/trial/identity.py: old records must not pass for new ones",
        "  2. say in CHANGELOG.md what moves and why",
        f"  3. {REGENERATE}",
    ]
    return "\n".join(lines)


def merged(now: Entry, golden: Entry | None, tolerance: float, reason: str = "") -> Entry:
    """What is written for a trial: an entry that has not moved keeps its numbers and gains this machine's digest.

    Raises:
        ValueError: It has moved, no version tells of it and no reason is given.
    """
    if golden is None:
        return now
    moved = moved_identity(now.identity, golden.identity) + moved_state(now.state, golden.state, tolerance)
    if not moved:
        state = State({**golden.state.digests, **now.state.digests}, golden.state.facts, golden.state.summary)
        return Entry(now.identity, state, golden.accepted)
    if may_move(now.identity, golden.identity):
        return now
    if not reason:
        raise ValueError("; ".join(moved))
    return Entry(now.identity, now.state, reason)
