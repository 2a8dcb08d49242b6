"""A contribution: one file of finished records with all that others need to check them, and the checks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.errors import UsageError
from harness.store.bitmap import unpacked
from harness.store.exchange import rows_of
from harness.store.incoming import CORRECT, FULL, UNREADABLE, Incoming, incoming
from harness.store.parquet_file import about_parquet, columns_of, write_parquet
from harness.store.reading import BrokenFile
from harness.store.store import Store, write_aside
from harness.trial.identity import ID_VERSION
from harness.trial.migration import identity_version
from harness.trial.record import Record, task_of
from harness.trial.spec import FEATURES

HEADER = b"contribution"
FORMAT = 1
LONGEST_HEADER = 2**16  # bytes
RATES = {"top1": "n_correct", "top1_fp32": "n_correct_fp32", "agreement": "n_agree"}
SAME = ("model", "bits", "calib", "seed")  # stand in a record and in its identity


class Finding(NamedTuple):
    """What a check found in one record.

    Attributes:
        record: Its id, or where it stands in the file.
        wrong: It contradicts itself; False: it cannot be checked, or only in part.
        text: What.
    """

    record: str
    wrong: bool
    text: str


class Checked(NamedTuple):
    """A file that was looked at.

    Attributes:
        header: Who made it, when, with which version; empty where the file has none.
        records: Those that could be read.
        findings: All that is wrong or cannot be checked.
    """

    header: Mapping[str, Any]
    records: list[Record]
    findings: list[Finding]


def pack(store: Store, path: Path, about: Mapping[str, str], wanted: Callable[[Record], bool]) -> int:
    """Write the finished records of a store, whole and with their per-image results, into one Parquet file.

    Paths of this machine stay out (``harness.trial.portable``).

    Args:
        store: Where they are. Imported records are another group's to submit and stay out.
        path: The file.
        about: Who submits, and anything that should be known.
        wanted: Which records.

    Returns:
        How many.

    Raises:
        UsageError: There are none, or the file cannot be written.
    """
    rows = rows_of(store, lambda one: _own(one) and wanted(one), full=True, public=True)
    if rows.empty:
        raise UsageError(f"no finished record of {store.root} is to be submitted", "see: harness store list")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    digest = digest_of(rows[FULL], rows[CORRECT])
    header = {"format": FORMAT, **about, "created": created, "records": len(rows), "sha256": digest}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_aside(path, lambda target: write_parquet(target, rows, {HEADER: json.dumps(header).encode()}))
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be written: {error.strerror or error}") from error
    return len(rows)


def _own(record: Record) -> bool:
    return record["status"] == "done" and "imported" not in record


def digest_of(*columns: Any) -> str:
    """SHA-256 over the texts of a file's columns: a transfer that lost or changed something shows."""
    digest = hashlib.sha256()
    for column in columns:
        for text in column:
            digest.update(hashlib.sha256(str(text).encode()).digest())
    return digest.hexdigest()


def check(path: Path) -> Checked:
    """Look at a contribution without running anything.

    Raises:
        UsageError: It is not there, or no Parquet file with whole records.
    """
    records: list[Record] = []
    findings: list[Finding] = []
    seen: set[str] = set()
    header = header_of(path)
    if not header:
        findings.append(Finding(path.name, False, "has no header: it is an export, and who made it is not known"))
    for one in incoming(path):
        if isinstance(one, BrokenFile):
            findings.append(Finding(one.path.name, True, one.reason))
            continue
        if one.record["id"] in seen:
            findings.append(Finding(one.record["id"], True, "is in the file twice"))
        seen.add(one.record["id"])
        records.append(one.record)
        findings += (Finding(one.record["id"], wrong, text) for wrong, text in problems_of(one))
        broken = (found for found in one.latencies if isinstance(found, BrokenFile))
        findings += (Finding(one.record["id"], True, found.reason) for found in broken)
    findings += _against_header(path, header)
    return Checked(header, records, findings)


def header_of(path: Path) -> Mapping[str, Any]:
    """What a file says of itself; empty where it says nothing.

    Raises:
        UsageError: It is no Parquet file.
    """
    if path.suffix != ".parquet" or not path.is_file():
        raise UsageError(f"{str(path)!r} is no file that harness submit wrote", "expected a .parquet file")
    try:
        text = about_parquet(path).get(HEADER, b"")
    except UNREADABLE as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise UsageError(f"{str(path)!r} cannot be read: {lines[0]}") from error
    return _header(text) if len(text) <= LONGEST_HEADER else {}


def _header(text: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}  # none of ours
    return found if isinstance(found, dict) and found.get("format") == FORMAT else {}


def _against_header(path: Path, header: Mapping[str, Any]) -> Iterator[Finding]:
    if not header:
        return
    columns = columns_of(path, [FULL, CORRECT])
    if header.get("records") != len(columns[FULL]):
        yield Finding(path.name, True, f"holds {len(columns[FULL])} records, its header says {header.get('records')}")
    elif header.get("sha256") != digest_of(columns[FULL], columns[CORRECT]):
        yield Finding(path.name, True, "was changed after it was made: its contents do not have the hash of its header")


def problems_of(one: Incoming) -> Iterator[tuple[bool, str]]:
    """What is wrong with a record (True), and what cannot be checked (False)."""
    record = one.record
    if record["status"] != "done":
        yield True, f"is of a trial that has {record['status']}"
        return
    yield from _identity(record)
    yield from ((True, text) for text in _numbers(record))
    if one.correct is None and task_of(record) == FEATURES:
        yield False, "measures features: what it says of them cannot be checked without the images"
    elif one.correct is None:
        yield False, "has no per-image results: its counts cannot be checked"
    else:
        yield from ((True, text) for text in _per_image(record, one.correct))
    if record["environment"].get("commit") is None:
        yield False, "does not say which commit made it"


def _identity(record: Record) -> Iterator[tuple[bool, str]]:
    """The id is the hash of the identity, and the identity is what the record shows to people."""
    version = identity_version(record["spec"], record["id"])
    if version is None:
        yield True, "its id is not the hash of what it says it measured"
    elif version != ID_VERSION:
        yield False, f"its id is of version {version} of the identity, today's is {ID_VERSION} (harness store migrate)"
    shown, identity = dict(record), dict(record["spec"])
    for name in SAME:
        if identity.get(name) != shown[name]:
            yield True, f"shows {name} {shown[name]!r}, its identity has {identity.get(name)!r}"
    steps = [step["name"] for step in record["spec"].get("stack", [])]
    named = [step.partition("(")[0] for step in _steps(record["stack"])]
    if steps != named:
        yield True, f"shows the stack {'+'.join(named)}, its identity has {'+'.join(steps)}"


def _steps(stack: str) -> list[str]:
    """The steps of a stack's text; a plus sign in parentheses belongs to a setting."""
    steps, depth = [""], 0
    for character in stack:
        depth += (character == "(") - (character == ")")
        if character == "+" and not depth:
            steps.append("")
        else:
            steps[-1] += character
    return steps


def _numbers(record: Record) -> Iterator[str]:
    """Percentages are counts over images, and no more predictions can have become right or wrong than changed."""
    metrics: Mapping[str, Any] = record["metrics"]
    images = metrics["n_images"]
    for rate, count in RATES.items():
        if count in metrics and rate in metrics and abs(metrics[rate] - 100 * metrics[count] / images) > 1e-6:
            yield f"{rate} is {metrics[rate]}, but {count} is {metrics[count]} of {images}"
    if {"n_agree", "n_correct", "n_correct_fp32"} <= metrics.keys():
        changed = abs(metrics["n_correct"] - metrics["n_correct_fp32"])
        if changed > images - metrics["n_agree"]:
            yield f"{changed} more or fewer right images, but only {images - metrics['n_agree']} predictions changed"


def _per_image(record: Record, correct: bytes) -> Iterator[str]:
    """``incoming`` has compared the counts; what is left is how many images differ."""
    metrics = record["metrics"]
    quantized, full = unpacked(correct, metrics["n_images"])
    differing = int(np.count_nonzero(quantized != full))
    if "n_agree" in metrics and differing > metrics["n_images"] - metrics["n_agree"]:
        yield f"{differing} images changed from right to wrong or back, but {metrics['n_agree']} predictions stayed"
