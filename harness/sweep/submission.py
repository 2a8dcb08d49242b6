"""One start of some trials of a sweep: which go together, and what was started for them."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from harness.store import sweep_files
from harness.store.store import write_json
from harness.store.sweep_files import BrokenSweepFileError, JobsContent, PacksContent, ProcessFacts

log = logging.getLogger(__name__)
LONGEST_JOB_NAME = 60


class Submission:
    """One start of some trials of a sweep. Its files are read leniently: a broken one is named and counts as absent.

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
    def content(self) -> PacksContent:
        """``packs.json``; without packs where it is broken."""
        try:
            return sweep_files.read(self.folder / "packs.json", sweep_files.PACKS)
        except (FileNotFoundError, BrokenSweepFileError) as error:
            log.warning("%s; submission %s is left out", error, self.number)
            return {"packs": [], "created": ""}

    @property
    def packs(self) -> list[list[str]]:
        """Trial ids by job."""
        return self.content["packs"]

    @property
    def jobs(self) -> JobsContent:
        """``jobs.json``: what was started, as far as it is known."""
        try:
            return sweep_files.read(self.folder / "jobs.json", sweep_files.JOBS)
        except FileNotFoundError:
            return {}
        except BrokenSweepFileError as error:
            log.warning("%s; jobs of submission %s are looked for by name", error, self.number)
            return {}

    def started(self, jobs: JobsContent) -> None:
        """Note what was started."""
        write_json(self.folder / "jobs.json", jobs)


def create(folder: Path, sweep: str, content: Mapping[str, Any]) -> Submission:
    """A new submission in its empty folder; its jobs have a name of their own, by which they are found in the queue."""
    name = f"{sweep[: LONGEST_JOB_NAME - 9]}.{secrets.token_hex(4)}"
    created = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"created": created, "user": os.getuid(), "job_name": name, "by": process_facts()}
    write_json(folder / "packs.json", {**content, **about})
    return Submission(folder)


def process_facts() -> ProcessFacts:
    """This process, for others to see whether it still runs."""
    me = psutil.Process()
    return {"host": socket.gethostname(), "pid": me.pid, "started": me.create_time()}
