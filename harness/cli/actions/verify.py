"""``harness verify``: are another group's results what they say?

What cannot be checked from the file alone is said: times, and that weights and images were those of the hashes. A repetition
checks the latter for one trial. Nothing in the file chooses a path: images and weights are the embedded ones or those given.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.cli.actions.run import carried_out, compared, repeated
from harness.cli.actions.store import earlier_methods, is_current
from harness.errors import UsageError
from harness.machine.terminal import terminal_progress
from harness.store.contribution import Checked, Finding, check
from harness.store.exchange import merge
from harness.store.store import Store
from harness.trial.record import Record
from harness.trial.spec import EMBEDDED

SHOWN = 20  # lines of one kind
UNCHECKED = "not checked: times, and whether weights and images are those of the hashes (--repeat checks them for one trial)"


def run(arguments: argparse.Namespace) -> int:
    """Run the command; exit code 1 when something is wrong."""
    found = check(arguments.file)
    repetition = _repeat(arguments, found) if arguments.repeat else None
    wrong = [one for one in found.findings if one.wrong]
    if arguments.json:
        print(json.dumps(_facts(found, repetition), indent=1))
    else:
        _show(arguments.file, found, repetition)
    return 1 if wrong or (repetition is not None and not repetition["same"]) else 0


def _facts(found: Checked, repetition: dict[str, Any] | None) -> dict[str, Any]:
    lists = {"wrong": True, "unchecked": False}
    return {
        "header": dict(found.header),
        "records": len(found.records),
        **{
            name: [{"record": one.record, "text": one.text} for one in found.findings if one.wrong is wrong]
            for name, wrong in lists.items()
        },
        "repetition": repetition,
    }


def _show(path: Path, found: Checked, repetition: dict[str, Any] | None) -> None:
    about = found.header
    whose = f" by {about['by']}, {about['created']}" if about else ""
    print(f"{path}: {len(found.records)} records{whose}" + (f"; {about['note']}" if about.get("note") else ""))
    _list("wrong", [one for one in found.findings if one.wrong])
    _list("cannot be checked", [one for one in found.findings if not one.wrong])
    old, stale = earlier_methods(found.records)
    if stale:
        print(f"{stale} are of other versions of their methods than here: {', '.join(old)}")
    print(UNCHECKED if repetition is None else f"trial {repetition['trial']}: {repetition['text']}")
    if not any(one.wrong for one in found.findings):
        print("nothing is wrong with it")


def _list(kind: str, findings: Sequence[Finding]) -> None:
    for one in findings[:SHOWN]:
        print(f"{kind}: {one.record}: {one.text}")
    if len(findings) > SHOWN:
        print(f"{kind}: {len(findings) - SHOWN} more (--json lists all)")


def _repeat(arguments: argparse.Namespace, found: Checked) -> dict[str, Any]:
    """Run one trial again in a store of its own that holds the file's records."""
    stored = _drawn(arguments, found.records)
    progress = terminal_progress(arguments.quiet)
    progress.say(f"trial {stored['id']}: {stored['stack']} {stored['bits']} on {stored['model']}")
    here = {"data": arguments.data or EMBEDDED, "weights": arguments.weights, "device": arguments.device}
    here |= {"classes": arguments.classes} if arguments.classes else {}
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = Store(Path(folder) / "theirs"), Store(Path(folder) / "ours")
        merge(theirs, arguments.file, None)
        record, _ = carried_out(repeated(stored, here), ours, progress)
        return _compared(stored, record, theirs, ours)


def _drawn(arguments: argparse.Namespace, records: Sequence[Record]) -> Record:
    """One record that can be repeated with the images that are given."""
    embedded = arguments.data is None
    able = [one for one in records if one["status"] == "done" and is_current(one) and _embedded(one) is embedded]
    if not able:
        kind = "on embedded images" if embedded else "on other images than the embedded ones"
        raise UsageError(
            f"none of its {len(records)} records is of today's methods {kind}: no trial to repeat",
            "give the images with --data PATH" if embedded else "leave out --data",
        )
    return random.Random(arguments.draw).choice(sorted(able, key=lambda one: one["id"]))


def _embedded(record: Record) -> bool:
    return record["data"]["name"] == EMBEDDED


def _compared(stored: Record, record: Record, theirs: Store, ours: Store) -> dict[str, Any]:
    text = compared(stored, record)
    same = record["id"] == stored["id"] and record["status"] == "done" and record["metrics"] == stored["metrics"]
    if same and (theirs.folder(stored["id"]) / "correct.npy").is_file():
        differing = int((theirs.correct(stored["id"]) != ours.correct(record["id"])).sum())
        same = differing == 0
        text += f"; {differing} per-image results differ"
    if stored["environment"].get("cpu") != record["environment"].get("cpu"):
        print("the repetition runs on another processor: last digits of sums may differ", file=sys.stderr)
    return {"trial": stored["id"], "same": same, "text": text}
