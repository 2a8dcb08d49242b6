"""A sweep on disk: a named set of trials, and what was submitted for it.

``<store>/sweeps/<name>/`` holds ``sweep.json`` (the trials), ``submissions/<n>/packs.json`` (which trials go together,
written before anything starts), ``submissions/<n>/jobs.json`` (the jobs or the launcher process), ``code/`` (snapshots) and
``stop`` while no further trial is to start. What became of the trials is in their records and heartbeats, not here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import UsageError, nearest
from harness.store.placeholder_records import skipped_id, unrun
from harness.store.store import Store, or_removed, write_json
from harness.sweep.cells import Plan
from harness.trial.identity import content_id
from harness.trial.spec import TrialSpec

FORMAT = 1


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


class Submission:
    """One start of some trials of a sweep.

    Args:
        folder: ``submissions/<n>``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def number(self) -> int:
        """Its number, from 1."""
        return int(self.folder.name)

    @cached_property
    def content(self) -> dict[str, Any]:
        """``packs``, ``launcher``, ``share``, ``fail_fast``, ``changes`` (of how trials run), ``code``, ``created``."""
        content: dict[str, Any] = json.loads((self.folder / "packs.json").read_text(encoding="utf-8"))
        return content

    @property
    def packs(self) -> list[list[str]]:
        """Trial ids by job."""
        packs: list[list[str]] = self.content["packs"]
        return packs

    @property
    def jobs(self) -> dict[str, Any]:
        """What was started: ``{"slurm": [job ids in the order of packs]}`` or ``{"local": {host, pid, started}}``."""
        try:
            jobs: dict[str, Any] = json.loads((self.folder / "jobs.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return jobs

    def started(self, jobs: dict[str, Any]) -> None:
        """Note what was started."""
        write_json(self.folder / "jobs.json", jobs)


class Sweep:
    """A sweep in a store.

    Args:
        store: The store.
        name: Name with hash.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name
        self.folder = store.root / "sweeps" / name

    @cached_property
    def content(self) -> dict[str, Any]:
        """``sweep.json``."""
        try:
            content: dict[str, Any] = json.loads((self.folder / "sweep.json").read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']!r}, expected {FORMAT}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"sweep {self.name!r} is not readable: {self.folder / 'sweep.json'}: {error}") from error
        return content

    @cached_property
    def planned(self) -> tuple[Planned, ...]:
        """All trials in the order of the grid."""
        return tuple(Planned(row["id"], TrialSpec.from_dict(row["spec"]), row["skipped"]) for row in self.content["trials"])

    def forget(self) -> None:
        """Read ``sweep.json`` again when it is needed next."""
        self.__dict__.pop("content", None)
        self.__dict__.pop("planned", None)

    @property
    def launcher(self) -> dict[str, Any]:
        """Kind and options of the launcher that it was planned for."""
        launcher: dict[str, Any] = self.content["launcher"]
        return launcher

    @property
    def submissions(self) -> list[Submission]:
        """All submissions, oldest first."""
        folders = [path.parent for path in self.folder.glob("submissions/*/packs.json") if path.parent.name.isdigit()]
        return [Submission(folder) for folder in sorted(folders, key=lambda folder: int(folder.name))]

    def submission(self, content: dict[str, Any]) -> Submission:
        """A new submission; its folder's creation reserves the number."""
        for number in range(len(self.submissions) + 1, 10_000):
            folder = self.folder / "submissions" / str(number)
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            with or_removed(folder):
                write_json(folder / "packs.json", {**content, "created": _now()})
            return Submission(folder)
        raise UsageError(f"sweep {self.name} has too many submissions")

    @property
    def stopped(self) -> str:
        """Why no further trial is to start; empty when trials may start."""
        try:
            return (self.folder / "stop").read_text(encoding="utf-8").strip() or "stopped"
        except FileNotFoundError:
            return ""

    def stop(self, reason: str) -> None:
        """Let no further trial start."""
        (self.folder / "stop").write_text(reason + "\n", encoding="utf-8")

    def go(self) -> None:
        """Let trials start again."""
        (self.folder / "stop").unlink(missing_ok=True)


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
        sweep.folder.mkdir(parents=True, exist_ok=True)
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
        write_json(sweep.folder / "sweep.json", {**sweep.content, "trials": rows})
        sweep.forget()
        for trial in freed:
            (sweep.store.folder(trial) / "record.json").unlink(missing_ok=True)


def keep_skipped(store: Store, plan: Plan) -> None:
    """A record with status ``skipped`` for every trial of a plan whose network or data cannot be loaded."""
    for cell in plan.cells:
        if not cell.identity and store.get(cell.id) is None:
            store.save(unrun(cell.spec, cell.id, "skipped", cell.kind, cell.reason, {}))


def sweeps(store: Store) -> list[Sweep]:
    """All readable sweeps of a store, newest last."""
    found = [Sweep(store, path.parent.name) for path in store.root.glob("sweeps/*/sweep.json")]
    return sorted((sweep for sweep in found if _readable(sweep)), key=lambda sweep: (sweep.content["created"], sweep.name))


def find(store: Store, name: str | None) -> Sweep:
    """The sweep whose name starts with ``name``; without a name the newest.

    Raises:
        UsageError: There is none, or several match.
    """
    known = sweeps(store)
    if not known:
        raise UsageError(f"no sweeps in {store.root}", "start one with: harness sweep --experiment smoke")
    if name is None:
        return known[-1]
    matches = [sweep for sweep in known if sweep.name == name] or [s for s in known if s.name.startswith(name)]
    if len(matches) != 1:
        names = [sweep.name for sweep in known]
        raise UsageError(
            f"{len(matches)} sweeps match {name!r}, expected one.{nearest(name, names)} Known: {', '.join(names)}"
        )
    return matches[0]


def _readable(sweep: Sweep) -> bool:
    try:
        return bool(sweep.content)
    except UsageError:
        return False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
