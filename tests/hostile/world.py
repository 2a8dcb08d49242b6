"""A store, a folder to work in, things around them that nobody may touch, and what has to hold of every answer.

The command line runs in this process. Only what would take long or reach beyond the folder is replaced: workers, clusters,
signals to other processes.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import matplotlib.font_manager  # noqa: F401  (writes its cache where it is imported first)
import pytest

from harness.cli.main import main
from harness.run.run_trial import run_trial
from harness.store.check import problems
from harness.store.store import Store
from harness.store.table_cache import rows
from harness.sweep.manifest import create
from harness.sweep.plan import make_plan
from harness.text import inert
from harness.trial.identity import content_id
from harness.trial.spec import TrialSpec
from tests.hostile import ledger
from tests.sweep.launch.idle import without_workers

LONGEST_SECONDS = 20  # only ends what would hang
CODES = (0, 1, 2, 129, 130, 143)
TRIAL = {"bits": "w8a8", "calib": 4, "eval_limit": 8, "device": "cpu"}
WORDS = ["--bits", "w8a8", "--calib", "4", "--eval-limit", "8", "--device", "cpu"]
STACK = "fqvit+biascorr"


class Endless(BaseException):
    """Raised by the alarm in what would hang; not an Exception, so that nothing catches it."""


@dataclass(frozen=True)
class Said:
    """The answer to a command line."""

    code: int | None
    out: str
    err: str
    raised: BaseException | None = None

    @property
    def text(self):
        return self.out + self.err


@dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        label: What is hostile about it.
        words: The command line, without ``--store``.
        given: On failure one of these is named; empty: nothing in particular.
        fails: Whether it has to fail; None where both are right.
        outputs: Where it may write besides the store.
        store: Adds ``--store``.
    """

    label: str
    words: list[str]
    given: tuple[str, ...] = ()
    fails: bool | None = None
    outputs: tuple[str, ...] = ()
    store: bool = True


def made(root):
    """Four records, one failed, a sweep with a submission, and what a real trial leaves behind."""
    store = Store(root)
    specs = [TrialSpec(method, **TRIAL) for method in (STACK, "minmax")]
    real = run_trial(specs[0], store).record
    assert real["status"] == "done"
    for seed in (1, 2):
        _alike(store, real, "fqvit", seed)
        _alike(store, real, "fqvit+omse", seed)
    _alike(store, real, "minmax", 1, status="failed", error={"kind": "oom", "message": "no memory", "traceback": "T"})
    plan = make_plan(specs, store)
    sweep = create(store, "smoke", "for tests", plan, {"kind": "local"}, "harness sweep")
    ids = [cell.id for cell in plan.cells]
    about = {"share": True, "fail_fast": False, "changes": {}, "code": "0" * 32, "launcher": {"kind": "local"}}
    submission = sweep.submission({**about, "packs": [[one] for one in ids]})
    submission.started({"local": {"host": "elsewhere", "pid": 4_000_000, "started": 1.0, "ended": True}})
    (store.folder(ids[0]) / "log.txt").write_text("a line\n")
    rows(store)  # writes the table of all records
    assert list(problems(store)) == [], "before anything hostile all is well"
    return root


def _alike(store, real, stack, seed, **changes):
    """A record like that of a real trial, of another stack and seed; its id is what it has to be."""
    steps = [{**real["spec"]["stack"][0], "name": name} for name in stack.split("+")]
    identity = {**real["spec"], "stack": steps, "seed": seed}
    about = {"id": content_id(identity), "spec": identity, "stack": stack, "seed": seed, **changes}
    asked = {**real["asked"], "method": stack, "seed": seed}
    one = {**real, **about, "asked": asked, "command": real["command"].replace(STACK, stack)}
    store.save(one, store.correct(real["id"]))


class World:
    """Where one test plays.

    Args:
        root: An empty folder.
        template: A store.
        monkeypatch: Of pytest.
    """

    def __init__(self, root, template, monkeypatch):
        self.root, self.template = root, template
        self.here, self.runs, self.outside = root / "here", root / "runs", root / "outside"
        for folder in (self.here, self.outside, root / "temporary"):
            folder.mkdir()
        (self.outside / "thesis.tex").write_text("mine")
        (self.outside / "trials").write_text("not a folder")
        (self.here / "notes.txt").write_text("mine")
        self.renew()
        monkeypatch.chdir(self.here)
        for name, value in self._places().items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setenv("PATH", str(root / "temporary"))  # no cluster
        monkeypatch.setattr("tempfile.tempdir", str(root / "temporary"))
        monkeypatch.setattr("os.kill", _nobody)
        without_workers(monkeypatch)
        monkeypatch.setattr("harness.sweep.launch.snapshot.take", lambda folder: Path("/code") / ("0" * 32))
        monkeypatch.setattr("harness.cli.actions.status.time.sleep", _interrupted)
        self.good = {path.name for path in (self.runs / "trials").glob("*/*")}

    def _places(self):
        temporary, cache = self.root / "temporary", self.root / "cache"
        return {"HARNESS_HOME": self.runs, "HOME": self.outside, "TMPDIR": temporary, "XDG_CACHE_HOME": cache}

    def renew(self):
        """The store as it was."""
        shutil.rmtree(self.runs, ignore_errors=True)
        shutil.copytree(self.template, self.runs, symlinks=True)

    def attempt(self, area, case, lost=()):
        """Try a case; returns what is wrong with the answer, and counts it.

        Args:
            area: Of the ledger.
            case: What to try.
            lost: Trials that are damaged and need not be listed.
        """
        before = self.around(case)
        said = self.say([*case.words, *(["--store", str(self.runs)] if case.store else [])])
        found = [*_wrong(said, case), *self._touched(before, self.around(case)), *self._listed(lost)]
        ledger.count(area, found)
        return [f"{case.label}: {text}  <- harness {inert(' '.join(case.words))[:160]}" for text in found]

    def say(self, words):
        """Run the command line here."""
        out, err = io.StringIO(), io.StringIO()
        code, raised = None, None
        before = signal.signal(signal.SIGALRM, _endless)
        signal.alarm(LONGEST_SECONDS)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(list(words))
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else None
        except KeyboardInterrupt:
            raise  # whoever runs the tests wants to stop
        except BaseException as error:
            raised = error
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        return Said(code, out.getvalue(), err.getvalue(), raised)

    def around(self, case):
        """Everything outside the store that this case may not write to, with its content."""
        free = [self.runs, self.root / "cache", *(Path(os.path.abspath(self.here / place)) for place in case.outputs)]
        found = {}
        for path in sorted(self.root.rglob("*")):
            if not any(path == place or place in path.parents for place in free):
                found[str(path)] = _content(path)
        return found

    def _touched(self, before, after):
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        return [f"outside the store: {', '.join(changed[:3])} changed"] if changed else []

    def _listed(self, lost):
        """The store still lists its records, on a machine's terms."""
        said = self.say(["report", "--json", "--store", str(self.runs)])
        if said.raised is not None or said.code != 0:
            return [f"traceback while listing: {said.raised!r}" if said.raised else "the store does not list"]
        listed = {record["id"] for record in json.loads(said.out)}
        missing = self.good - set(lost) - listed - self._without_record()
        return [f"not listed any more: {', '.join(sorted(missing))}"] if missing else []

    def _without_record(self):
        return {trial for trial in self.good if not list((self.template / "trials").glob(f"*/{trial}/record.json"))}


def settle(failures):
    """Fail with all that was wrong, without what pytest would add."""
    if failures:
        pytest.fail("\n".join([f"{len(failures)} complaints:", *failures]), pytrace=False)


def _wrong(said, case):
    if said.raised is not None:
        kind = "traceback (endless)" if isinstance(said.raised, Endless) else "traceback"
        return [f"{kind}: {type(said.raised).__name__}: {str(said.raised)[:160]}"]
    problems = ["traceback is shown"] if "Traceback (most recent call" in said.text else []
    if "failed (bug)" in said.err:
        problems.append(f"traceback in the record: {said.err[-300:]!r}")
    if said.code not in CODES:
        problems.append(f"exit code {said.code}")
    if not all(character.isprintable() or character in "\n\t" for character in said.text):
        problems.append("output is not inert")
    if case.fails is not None and case.fails != bool(said.code):
        return [*problems, f"exit code {said.code}: {said.err[-200:]!r}"]
    if said.code == 2 or case.fails:
        if not said.err.startswith("error: ") and "\nerror: " not in said.err:
            problems.append(f"no line that says error: {said.err[-200:]!r}")
        if case.given and not any(_named(one, said.err) for one in case.given):
            problems.append(f"names nothing that was given: {said.err[-200:]!r}")
    return problems


def _named(given, said):
    return any(one and one in said for one in (inert(given), inert(repr(given))[1:-1], inert(given).strip()[:40]))


def _content(path):
    if path.is_symlink():
        return "link"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"


def _nobody(pid, number):
    """No process may be told to stop here."""
    raise ProcessLookupError(f"process {pid} is not for tests to stop")


def _interrupted(seconds):
    raise KeyboardInterrupt


def _endless(number, frame):
    raise Endless(f"not finished after {LONGEST_SECONDS} s")
