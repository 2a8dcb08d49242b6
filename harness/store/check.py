"""Is every file of a store what it should be? One problem per line, by file; what to do about it is for others."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.store.aside import FOLDER as ASIDE
from harness.store.bitmap import BitmapError, check_counts, read_bitmap
from harness.store.check_sweeps import CODE, check_beat, check_code, check_jobs, check_packs, check_sign, check_sweep
from harness.store.check_tensors import check_images, check_logits, check_partial, check_prefix, check_quantizers
from harness.store.latencies import check_latency
from harness.store.reading import BrokenFile, kind_of, read_any_record, read_record, reason_of
from harness.store.store import Store
from harness.store.table_cache import NAME as CACHE
from harness.store.table_cache import check_cache
from harness.trial.identity import ID_VERSION
from harness.trial.migration import identity_version
from harness.trial.record import Record, task_of
from harness.trial.spec import FEATURES

STRAY_SECONDS = 3600.0  # a temporary file that is younger may belong to a process that is writing
_SHARD, _ID = "(?P<shard>[0-9a-f]{2})", "(?P<id>[0-9a-f]{16})"
Check = Callable[[Store, Path], Iterator[BrokenFile]]


def problems(store: Store) -> Iterator[BrokenFile]:
    """Everything that is wrong: truncated, foreign, of another schema, misplaced, missing, left over."""
    for path, name in _walk(store.root, store.root, set()):
        if isinstance(path, BrokenFile):
            yield path
        elif _is_stray(path):
            yield BrokenFile(path, "left over from a write that was interrupted")
        else:
            yield from _problems_of(store, path, name)


def _walk(root: Path, folder: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path | BrokenFile, str]]:
    """Every file with its path below ``root``, in order. Of links to folders only those directly in it are followed."""
    try:
        found = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        yield BrokenFile(folder, f"not readable: {reason_of(error)}"), ""
        return
    if (found.st_dev, found.st_ino) in seen:
        yield BrokenFile(folder, "a link to a folder that was looked at already"), ""
        return
    seen.add((found.st_dev, found.st_ino))
    for entry in entries:
        path = folder / entry.name
        name = path.relative_to(root).as_posix()
        if name == ASIDE:
            continue
        if not os.path.isdir(path) or any(pattern.fullmatch(name) for pattern, _ in FILES):
            yield path, name
        elif entry.is_symlink() and folder != root:
            yield BrokenFile(path, "a link to a folder, which is not looked at", stays=True), name
        elif _CODE.fullmatch(name) or entry.name.startswith("."):
            yield path, name  # a snapshot is one thing; a hidden folder is one that was not finished
        else:
            yield from _walk(root, path, seen)


def _is_stray(path: Path) -> bool:
    """Whether a write left it over: a hidden file as write_aside names them, or a hidden copy of the code."""
    unfinished = path.parent.name == CODE if path.is_dir() else path.name.count(".") > 1
    if not path.name.startswith(".") or not unfinished:
        return False
    try:
        return time.time() - path.lstat().st_mtime > STRAY_SECONDS
    except OSError:
        return False


def _problems_of(store: Store, path: Path, name: str) -> Iterator[BrokenFile]:
    if path.is_symlink() and not path.exists():
        yield BrokenFile(path, "a link to nothing, or in a circle")
        return
    for pattern, check in FILES:
        match = pattern.fullmatch(name)
        if match is None:
            continue
        found = match.groupdict()
        if found.get("shard") is not None and found["shard"] != found["id"][:2]:
            yield BrokenFile(path, f"lies below {found['shard']!r}, expected {found['id'][:2]!r}")
        elif not path.is_file() and check is not check_code:
            yield BrokenFile(path, f"is {kind_of(path.stat().st_mode)}, expected a file")
        else:
            yield from check(store, path)
        return
    if name.split("/")[0] in ("trials", "states", "logits") and not path.name.startswith("."):
        yield BrokenFile(path, "is no file that a store has in this place")


def _record(store: Store, path: Path) -> Iterator[BrokenFile]:
    found = read_record(path)
    if isinstance(found, BrokenFile):
        yield found
    elif found is not None:
        yield from _identity(found, path)
        counted = found["status"] == "done" and "imported" not in found and task_of(found) != FEATURES
        if counted and not (path.parent / "correct.npy").exists():
            yield BrokenFile(path.parent / "correct.npy", "is missing")


def _identity(record: Record, path: Path) -> Iterator[BrokenFile]:
    """The id is the hash of what the record says it measured."""
    if not record["spec"]:
        return  # the trial never ran
    version = identity_version(record["spec"], record["id"])
    if version is None:
        yield BrokenFile(path, "its id is not the hash of its identity")
    elif version != ID_VERSION:
        yield BrokenFile(path, "its identity is of an earlier version (harness store migrate)", stays=True)


def _other_record(store: Store, path: Path) -> Iterator[BrokenFile]:
    """A record of an earlier attempt, or of another group."""
    found = read_any_record(path)
    if isinstance(found, BrokenFile):
        yield found
    elif found is not None and found["id"] != path.parent.parent.name:
        yield BrokenFile(path, f"its id {found['id']} is not that of the trial")


def _bitmap(store: Store, path: Path) -> Iterator[BrokenFile]:
    record = read_record(path.parent / "record.json")
    if record is None or isinstance(record, BrokenFile) or record["status"] != "done":
        return  # of an attempt that has not ended
    try:
        check_counts(read_bitmap(path, record["metrics"]["n_images"]), record)
    except BitmapError as error:
        yield BrokenFile(path, str(error))


def _anything(store: Store, path: Path) -> Iterator[BrokenFile]:
    """Output of processes: any text will do."""
    yield from ()


_CODE = re.compile(rf"sweeps/[^/]+/{CODE}/[^/.][^/]*")
_TRIAL, _STATE = f"trials/{_SHARD}/{_ID}/", f"states/{_SHARD}/{_ID}/"
FILES: tuple[tuple[re.Pattern[str], Check], ...] = tuple(
    (re.compile(pattern), check)
    for pattern, check in (
        ("trials/[^/]+/[^/]+/record\\.json", _record),
        (_TRIAL + r"(?:attempts|replicas)/[^/]+\.json", _other_record),
        (_TRIAL + r"latency/[^/]+\.json", check_latency),
        (_TRIAL + r"correct\.npy", _bitmap),
        (_TRIAL + r"quantizers\.safetensors", check_quantizers),
        (_TRIAL + r"heartbeat\.json", check_beat),
        (_TRIAL + r"[^/]+\.txt", _anything),
        (_STATE + r"prefix\.safetensors", check_prefix),
        (_STATE + r"partial\.safetensors", check_partial),
        (_STATE + r"images\.safetensors", check_images),
        (f"logits/{_SHARD}/{_ID}" + r"\.safetensors", check_logits),
        (re.escape(CACHE), check_cache),
        ("sweeps/[^/]+/sweep\\.json", check_sweep),
        ("sweeps/[^/]+/submissions/[^/]+/packs\\.json", check_packs),
        ("sweeps/[^/]+/submissions/[^/]+/jobs\\.json", check_jobs),
        ("sweeps/[^/]+/(?:stop|trusts-imported)", check_sign),
        ("sweeps/[^/]+/submissions/[^/]+/orders\\.(?:jsonl|index)", _anything),
        (_CODE.pattern, check_code),
    )
)
