"""A sweep on disk: a named set of trials, and what was submitted for it.

``<store>/sweeps/<name>/`` holds ``sweep.json`` (the trials), ``code/`` (snapshots), ``stop`` while no further trial is to
start, ``trusts-imported`` where records of other groups count, and for each start a folder ``submissions/<n>/`` with
``packs.json`` (which trials go together, written before anything starts), ``orders.jsonl`` (what each job needs to know) and
``jobs.json`` (the jobs, or the launcher process). What became of the trials is in their records and heartbeats, not here.
``harness/store/sweep_files.py`` says what the files look like; one that is broken is named and concerns nothing else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import UsageError, nearest
from harness.store import sweep_files
from harness.store.aside import only_file
from harness.store.inside import inside, trial_inside
from harness.store.placeholder_records import skipped_id, unrun
from harness.store.reading import contents, reason_of
from harness.store.store import Store, or_removed, write_aside, write_json
from harness.store.sweep_files import FORMAT, BrokenSweepFileError, SweepContent
from harness.sweep.cells import Plan
from harness.sweep.submission import Submission
from harness.sweep.submission import create as create_submission
from harness.trial.identity import content_id
from harness.trial.spec import TrialSpec

log = logging.getLogger(__name__)
TRUST = "trusts-imported"
STOP = "stop"
CANCELLED = "cancelled"  # the stop sign of harness cancel


@dataclass(frozen=True)
class Planned:
    """One trial of a sweep.

    Attributes:
        id: Its id.
        spec: What it is.
        skipped: It could not be planned (see its record).
    """

    id: str
    spec: TrialSpec
    skipped: bool


class Sweep:
    """A sweep in a store.

    Args:
        store: The store.
        name: Name with hash.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.store = _trusted(store, name)
        self.name = name
        self.folder = store.root / "sweeps" / name
        self._submissions: dict[int, Submission] = {}
        self._said: set[str] = set()

    @cached_property
    def content(self) -> SweepContent:
        """``sweep.json``.

        Raises:
            UsageError: It is absent or broken.
        """
        try:
            return sweep_files.read(self.folder / "sweep.json", sweep_files.SWEEP)
        except (FileNotFoundError, BrokenSweepFileError) as error:
            raise UsageError(f"sweep {self.name!r} is not readable: {error}") from error

    @cached_property
    def planned(self) -> tuple[Planned, ...]:
        """All trials in the order of the grid.

        Raises:
            UsageError: One is no trial.
        """
        try:
            rows = self.content["trials"]
            return tuple(Planned(row["id"], TrialSpec.from_dict(row["spec"]), row["skipped"]) for row in rows)
        except (UsageError, TypeError) as error:
            raise UsageError(f"sweep {self.name!r} is not readable: {self.folder / 'sweep.json'}: {error}") from error

    def forget(self) -> None:
        """Read ``sweep.json`` again when it is needed next."""
        self.__dict__.pop("content", None)
        self.__dict__.pop("planned", None)

    @property
    def launcher(self) -> dict[str, Any]:
        """Kind and options of the launcher that it was planned for."""
        return self.content["launcher"]

    @property
    def submissions(self) -> list[Submission]:
        """All submissions, oldest first; each is read once."""
        names = {path.parent.name for path in self.folder.glob("submissions/*/*.json") if path.parent.name.isdecimal()}
        known = self._submissions
        for name in names:
            known.setdefault(int(name), Submission(self.folder / "submissions" / name))
        return [known[number] for number in sorted(known)]

    def submission(self, content: Mapping[str, Any]) -> Submission:
        """A new submission; its folder's creation reserves the number."""
        inside(self.store.root, self.folder / "submissions")
        for number in range(len(self.submissions) + 1, 10_000):
            folder = self.folder / "submissions" / str(number)
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            with or_removed(folder):
                return create_submission(folder, self.name, content)
        raise UsageError(f"sweep {self.name} has too many submissions")

    @property
    def stopped(self) -> str:
        """Why no further trial is to start; empty when trials may start."""
        path = self.folder / STOP
        try:
            return contents(path).decode("utf-8", errors="replace").strip() or "stopped"
        except FileNotFoundError:
            return ""
        except OSError as error:
            self._warn(f"{path} is not readable: {reason_of(error)}; {self.name} counts as stopped")
            return "stopped"

    def stop(self, reason: str) -> None:
        """Let no further trial start.

        Raises:
            UsageError: The sweep's folder is a link that leads out of the store.
            OSError: It cannot be noted.
        """
        write_aside(self.place_of(STOP), lambda target: target.write_text(reason + "\n", encoding="utf-8"))

    def go(self) -> None:
        """Let trials start again.

        Raises:
            UsageError: The sweep's folder is a link that leads out of the store.
        """
        self.place_of(STOP).unlink(missing_ok=True)

    def place_of(self, name: str) -> Path:
        """Where to write a file of the sweep; what is no file there goes to ``aside/``.

        Raises:
            UsageError: The sweep's folder is a link that leads out of the store.
        """
        path = inside(self.store.root, self.folder) / name
        only_file(self.store.root, path)
        return path

    def _warn(self, text: str) -> None:
        """Say something once, however often it is seen."""
        if text not in self._said:
            self._said.add(text)
            log.warning("%s", text)


def create(store: Store, name: str, about: str, plan: Plan, launcher: dict[str, Any], command: str) -> Sweep:
    """The sweep of a plan's trials; the same trials under the same name are the same sweep.

    Trials that cannot run get a record with status ``skipped`` and the reason.
    """
    stem = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "sweep"
    sweep = Sweep(store, f"{stem}-{content_id({'trials': sorted(cell.id for cell in plan.cells)})[:8]}")
    path = sweep.folder / "sweep.json"
    keep_skipped(store, plan)
    if not path.is_file():
        trials = [{"id": cell.id, "skipped": not cell.identity, "spec": cell.spec.as_dict()} for cell in plan.cells]
        about_it = {"format": FORMAT, "name": sweep.name, "about": about, "created": _now(), "command": command}
        inside(store.root, sweep.folder).mkdir(parents=True, exist_ok=True)
        with or_removed(sweep.folder):
            write_json(path, {**about_it, "launcher": launcher, "trials": trials})
    return sweep


def adopt(sweep: Sweep, plan: Plan) -> None:
    """Give trials that were skipped, and can be prepared now, their real ids; their records of being skipped go."""
    now = {skipped_id(cell.spec): cell.id for cell in plan.cells if cell.identity}
    rows = [
        {**row, "id": now[row["id"]], "skipped": False} if row["skipped"] and row["id"] in now else row
        for row in sweep.content["trials"]
    ]
    freed = [row["id"] for row in sweep.content["trials"] if row["skipped"] and row["id"] in now]
    if freed:
        for folder in map(sweep.store.folder, freed):
            trial_inside(sweep.store.root, folder)
        write_json(inside(sweep.store.root, sweep.folder) / "sweep.json", {**sweep.content, "trials": rows})
        sweep.forget()
        for trial in freed:
            (sweep.store.folder(trial) / "record.json").unlink(missing_ok=True)


def keep_skipped(store: Store, plan: Plan) -> None:
    """A record with status ``skipped`` for every trial of a plan whose network or data cannot be loaded."""
    for cell in plan.cells:
        if not cell.identity and store.get(cell.id) is None:
            store.save(unrun(cell.spec, cell.id, "skipped", cell.kind, cell.reason, {}))


def remember_trust(sweep: Sweep) -> None:
    """Let imported records count in every later command on the sweep, where they count in this one."""
    if sweep.store.trust_imported:
        write_aside(sweep.place_of(TRUST), lambda target: target.write_bytes(b""))


def _trusted(store: Store, name: str) -> Store:
    mark = store.root / "sweeps" / name / TRUST
    return store.trusting() if mark.is_file() and not mark.is_symlink() else store


def sweeps(store: Store) -> list[Sweep]:
    """All readable sweeps of a store, newest last; the others are named on standard error."""
    found = [sweep for sweep in (Sweep(store, name) for name in _names(store)) if _readable(sweep)]
    return sorted(found, key=lambda sweep: (sweep.content["created"], sweep.name))


def find(store: Store, name: str | None) -> Sweep:
    """The sweep whose name starts with ``name``; without a name the newest.

    Raises:
        UsageError: There is none, several match, or the one that matches is not readable.
    """
    names = _names(store)
    if not names:
        raise UsageError(f"no sweeps in {store.root}", "start one with: harness sweep --experiment smoke")
    if name is None:
        known = sweeps(store)
        if not known:
            raise UsageError(f"no readable sweep in {store.root}", "harness store check names what is wrong")
        return known[-1]
    matches = [one for one in names if one == name] or [one for one in names if one.startswith(name)]
    if len(matches) != 1:
        raise UsageError(
            f"{len(matches)} sweeps match {name!r}, expected one.{nearest(name, names)} Known: {', '.join(names)}"
        )
    sweep = Sweep(store, matches[0])
    _ = sweep.planned  # here, so that a broken file is named before anything is done
    return sweep


def _names(store: Store) -> list[str]:
    return sorted(path.parent.name for path in store.root.glob("sweeps/*/sweep.json"))


def _readable(sweep: Sweep) -> bool:
    try:
        return bool(sweep.planned) or bool(sweep.content)
    except UsageError as error:
        log.warning("%s; it is left out", error)
        return False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
