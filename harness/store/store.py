"""Records on disk: one folder per trial, one writer per file, written aside and renamed. No database, no lock.

``<root>/trials/<first two digits>/<id>/`` holds ``record.json``, ``correct.npy`` (packed bits), ``quantizers.safetensors``,
``attempts/<n>.json`` (records of failed attempts), ``replicas/`` (records of other groups), ``latency/`` (measurements on
machines), ``log.txt`` and, while it runs, ``heartbeat.json``. Beside ``trials/`` are ``sweeps/``, and as work saved
``states/``, ``logits/`` and ``results.parquet``; ``aside/`` has what did not fit.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import DiskError, UsageError
from harness.store.aside import only_file, set_aside
from harness.store.bitmap import packed, read_bitmap
from harness.store.inside import inside, trial_inside
from harness.store.reading import BrokenFile, read_record, reason_of
from harness.text import user_path
from harness.trial.identity import ID_LENGTH, is_id
from harness.trial.migration import identity_version
from harness.trial.record import Record

log = logging.getLogger(__name__)

ENVIRONMENT_VARIABLE = "HARNESS_HOME"
DEFAULT_ROOT = "runs"
STATE = "quantizers.safetensors"  # of a trial: its finished network
BESIDE = ("correct.npy", STATE)  # what belongs to a record and would be written over with it
WHILE_IT_RUNS = ("log.txt", "heartbeat.json")
DEEPEST = 200  # folders above a store
LEAST_SPACE = 2**16  # bytes: a record and the quantizers of a small network


class Store:
    """All records below one folder.

    Args:
        root: The folder; made when the first record is saved.
        trust_imported: Records of other groups count as results of this store, so their trials are not run again.
    """

    def __init__(self, root: Path | str, *, trust_imported: bool = False) -> None:
        self.root = Path(root)
        self.trust_imported = trust_imported

    @classmethod
    def default(cls, root: str | None = None, *, trust_imported: bool = False) -> Store:
        """The store at ``root``, else at ``$HARNESS_HOME``, else at ``./runs``.

        Raises:
            UsageError: There is something else than a folder at that place, or there can be no such place.
        """
        path = user_path(root or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_ROOT)
        if path.exists() and not path.is_dir():
            raise UsageError(f"store {str(path)!r} is not a folder", "give a folder with --store DIR")
        return cls(path, trust_imported=trust_imported)

    def check_writable(self) -> None:
        """Make the folder and try to write to it, so that a long trial does not fail at its end.

        Raises:
            DiskError: Nothing can be written there.
        """
        depth = len(self.root.parts)
        if depth > DEEPEST:  # making and walking them one in the other would end in the middle
            raise DiskError(
                f"the store lies below {depth:,} folders, expected at most {DEEPEST}", "give a folder with --store DIR"
            )
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root) as handle:
                handle.write(bytes(LEAST_SPACE))
        except OSError as error:
            raise DiskError(
                f"store {str(self.root)!r} is not writable: {error.strerror}", "give a folder with --store DIR"
            ) from error

    def folder(self, trial: str) -> Path:
        """The folder of a trial.

        Raises:
            UsageError: The id is not 16 hexadecimal digits: no other text ever becomes a path.
        """
        return sharded(self.root / "trials", trial)

    def save(self, record: Record, correct: np.ndarray | None = None) -> Path:
        """Write a record; it is written last, so its presence means that everything else is there.

        A failed record never replaces a done one; an earlier failed record moves to ``attempts/``, an imported one to
        ``replicas/``, and what is no readable record to ``aside/``.

        Args:
            record: The record.
            correct: Boolean ``(2, n)`` per-image correctness.

        Returns:
            Path of the record.
        """
        folder = self.folder(record["id"])
        self.make_way(record["id"])
        folder.mkdir(parents=True, exist_ok=True)
        with or_removed(folder):
            return self._written(folder, record, correct)

    def _written(self, folder: Path, record: Record, correct: np.ndarray | None) -> Path:
        path = folder / "record.json"
        previous = self.stored(record["id"])
        if previous is not None and "imported" in previous:
            self._keep(folder / "replicas", previous)
        elif previous is not None and previous["status"] != "done":
            self._keep(folder / "attempts", previous)
        elif previous is not None and record["status"] != "done":
            return self._keep(folder / "attempts", record)
        if correct is not None:
            write_aside(folder / "correct.npy", lambda target: target.write_bytes(packed(correct)))
        write_json(path, record)
        return path

    def make_way(self, trial: str) -> None:
        """Move a file in the place of a trial's record that is not readable to ``aside/``, with what lies beside it.

        Results that cannot be read here, because another version wrote them or a disk was full, are never written over. What
        stands in the place of a trial's other files and is no file goes there too.

        Raises:
            UsageError: It cannot be moved, or the trial's folder, or one in it, is a link: nothing is written through it.
        """
        folder = trial_inside(self.root, self.folder(trial))
        for name in (*BESIDE, *WHILE_IT_RUNS):
            only_file(self.root, folder / name)
        found = read_record(folder / "record.json")
        if not isinstance(found, BrokenFile):
            return
        log.warning("%s is no record: %s; kept as %s", found.path, found.reason, set_aside(self.root, found))
        for name in BESIDE:
            if os.path.lexists(folder / name):
                set_aside(self.root, BrokenFile(folder / name, "belongs to a record that was set aside", found.schema))

    def _keep(self, folder: Path, record: Record) -> Path:
        """Write a record under the next free number; creating the file reserves the number."""
        inside(self.root, folder).mkdir(exist_ok=True)
        number = len(list(folder.glob("*.json"))) + 1
        while True:
            path = folder / f"{number}.json"
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                number += 1
                continue
            try:
                write_json(path, record)
            except BaseException:  # the number is free again
                path.unlink(missing_ok=True)
                raise
            return path

    def get(self, trial: str) -> Record | None:
        """The record that says a trial need not be run; None when there is none, or it is broken.

        An imported record counts only where imported records are trusted, and only when its id is the hash of what it says
        it measured; ``stored`` gives it in any case.
        """
        found = self.stored(trial)
        return found if found is not None and self.counts(found) else None

    def counts(self, record: Record) -> bool:
        """Whether a record of this store says that its trial need not be run."""
        if "imported" not in record:
            return True
        return self.trust_imported and identity_version(record["spec"], record["id"]) is not None

    def stored(self, trial: str) -> Record | None:
        """The record of a full id, own or imported; None when there is none or it is broken."""
        found = read_record(self.folder(trial) / "record.json")
        return None if found is None or isinstance(found, BrokenFile) else found

    def trusting(self) -> Store:
        """The same store, in which imported records count."""
        return Store(self.root, trust_imported=True)

    def find(self, prefix: str) -> Record:
        """The record whose id starts with ``prefix``.

        Raises:
            UsageError: None or several match, or it has no record.
        """
        trial = self.find_trial(prefix)
        record = self.stored(trial)
        if record is None:
            raise UsageError(f"trial {trial} has no readable record in {self.root} yet")
        return record

    def find_trial(self, prefix: str) -> str:
        """The id of the trial, run or not, whose id starts with ``prefix``.

        Raises:
            UsageError: None or several match.
        """
        pattern = f"{prefix[:2]}*" if len(prefix) < 2 else prefix[:2]
        folders = sorted((self.root / "trials").glob(f"{pattern}/{prefix}*")) if prefix.isalnum() else []
        if len(folders) != 1:
            names = ", ".join(folder.name for folder in folders[:5])
            found = f": {names}" if names else f" in {self.root}"
            raise UsageError(f"{len(folders)} trials match {prefix!r}, expected one{found}")
        return folders[0].name

    def records(self) -> Iterator[Record]:
        """All readable records, sorted by id."""
        return (found for found in self.everything() if not isinstance(found, BrokenFile))

    def broken(self) -> list[BrokenFile]:
        """Files in the place of a record that are truncated or foreign."""
        return [found for found in self.everything() if isinstance(found, BrokenFile)]

    def everything(self) -> Iterator[Record | BrokenFile]:
        """All files in the place of a record, sorted by id; and folders that cannot be listed."""
        folders, closed = self.scan()
        yield from closed
        for folder in folders:
            found = read_record(folder / "record.json")
            if found is not None:
                yield found

    def trial_folders(self) -> Iterator[Path]:
        """The folders of all trials, run or not, sorted by id."""
        yield from self.scan()[0]

    def scan(self) -> tuple[list[Path], list[BrokenFile]]:
        """The folders of all trials, sorted by id, and those that cannot be listed."""
        closed: list[BrokenFile] = []
        shards = _folders_in(self.root / "trials", closed)
        return sorted(folder for shard in shards for folder in _folders_in(shard, closed)), closed

    def correct(self, trial: str, count: int | None = None) -> np.ndarray:
        """Per-image correctness of a trial, boolean ``(2, n)``: quantized and full precision.

        Args:
            trial: Full id.
            count: Number of images, where it is known already; otherwise the record is read for it.

        Raises:
            UsageError: The trial has no bitmap, or one that is broken or of another number of images.
        """
        path = self.folder(trial) / "correct.npy"
        record = self.stored(trial) if count is None else None
        count = record.get("metrics", {}).get("n_images") if record is not None else count
        if count is None or not path.is_file():
            raise UsageError(f"trial {trial} has no per-image results in {self.root}")
        return read_bitmap(path, count)


def _folders_in(folder: Path, closed: list[BrokenFile]) -> list[Path]:
    """The folders in a folder; one that cannot be listed goes to ``closed``."""
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if os.path.isdir(entry.path)]
    except FileNotFoundError:
        return []
    except OSError as error:
        closed.append(BrokenFile(folder, f"not readable: {reason_of(error)}"))
        return []


def sharded(root: Path, identifier: str) -> Path:
    """The place of an id below a folder: ``<first two digits>/<id>``, so that no folder has too many entries.

    Raises:
        UsageError: The id is not 16 hexadecimal digits; text from foreign records must not become a path.
    """
    if not is_id(identifier):
        raise UsageError(f"{identifier!r} is no id: expected {ID_LENGTH} hexadecimal digits, in lower case")
    return root / identifier[:2] / identifier


@contextmanager
def or_removed(folder: Path) -> Iterator[None]:
    """Fill a new folder; when that fails, or is interrupted, and nothing is in it, it goes away again."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            folder.rmdir()
        raise


def write_json(path: Path, content: Any) -> None:
    """Write JSON aside and rename it into place."""
    text = json.dumps(content, indent=1, sort_keys=False, allow_nan=False)
    write_aside(path, lambda target: target.write_text(text + "\n", encoding="utf-8"))


def write_aside(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file in the same folder, flush it, and rename it to ``path``."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say where
        raise
    finally:
        temporary.unlink(missing_ok=True)
