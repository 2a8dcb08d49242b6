"""Ctrl-C and SIGTERM in every state of a verb: the exit code says which, no traceback, nothing stray, and it can go on."""

import itertools
import os
import signal
import subprocess
import sys

import pytest

from harness.cli.main import main
from harness.machine import signals
from harness.store.store import Store
from harness.sweep import heartbeat
from harness.sweep.manifest import create, find
from harness.sweep.plan import make_plan
from harness.sweep.status import counts, states_of
from harness.trial.spec import TrialSpec
from tests.lanes import nightly
from tests.store.test_store import record
from tests.sweep.launch.waiting import saved_searches, wait_for

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
EITHER = [signal.SIGINT, signal.SIGTERM]
both = pytest.mark.parametrize("number", EITHER)
SMALL = ["--calib", "8", "--eval-limit", "50", "--device", "cpu"]
SEARCH = "fqvit+evolq(passes=500)"  # ends by a signal only


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "runs"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv(heartbeat.INTERVAL_VARIABLE, "0.2")
    (tmp_path / "temporary").mkdir()
    return Store(tmp_path / "runs")


@pytest.fixture
def started(tmp_path):
    """Start the command line; what is still there at the end of the test is killed."""
    processes = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", *words],
            stdout=(tmp_path / "out.txt").open("w"),
            stderr=(tmp_path / "err.txt").open("w"),
            preexec_fn=_heeds_signals,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def _heeds_signals():
    """A shell ignores Ctrl-C for what it starts in the background, ``nohup`` ignores SIGHUP, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def said(tmp_path):
    """Wait until a process has said something on standard error."""
    return lambda text: wait_for(lambda: text in (tmp_path / "err.txt").read_text())


@pytest.fixture
def ends(tmp_path, home):
    """Send a signal and look at what is left."""

    def check(process, number, words="interrupted"):
        process.send_signal(number)
        process.wait()
        err = (tmp_path / "err.txt").read_text()
        assert process.returncode == CODES[number], (process.returncode, err)
        assert words in err
        assert "Traceback" not in err + (tmp_path / "out.txt").read_text()
        assert "Exception ignored" not in err
        assert [path for path in home.root.rglob("*") if path.name.startswith(".")] == []
        assert list((tmp_path / "temporary").iterdir()) == []

    return check


HELD = """
import sys, time
print("{text}", file=sys.stderr, flush=True)
while True:
    time.sleep(0.01)
"""
HOOK = """
import sys
if "harness" in sys.orig_argv:
    def hook(event, given, source={source!r}):
        if event == "open" and str(given[0]).endswith("record.json") and given[1] in ("r", "rb", None):
            exec(source)
    sys.addaudithook(hook)
"""


@pytest.fixture
def held(tmp_path, monkeypatch):
    """Hold processes in the import of a module, or where they open a record: they say so and wait for ever."""

    def hold(place):
        text = f"at {place}"
        source = HELD.format(text=text)
        name, content = ("sitecustomize", HOOK.format(source=source)) if place == "a record" else (place, source)
        (tmp_path / "path").mkdir()
        (tmp_path / "path" / f"{name}.py").write_text(content)
        path = [str(tmp_path / "path"), os.environ.get("PYTHONPATH", "")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(part for part in path if part))
        return text

    return hold


@both
@pytest.mark.parametrize(
    ("module", "words"),
    [("argparse", ["list", "methods"]), ("torch", ["run", "--method", "fqvit"]), ("torch", ["plan", "--method", "fqvit"])],
)
def test_during_an_import(home, started, said, ends, held, number, module, words):
    text = held(module)
    process = started(*words)
    said(text)
    ends(process, number)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        *itertools.product(EITHER, [["report"], ["status"], ["store", "check"]]),
        (signal.SIGINT, ["plan", "--method", "fqvit"]),  # what loads torch takes ten seconds
        (signal.SIGTERM, ["resume"]),
    ],
)
def test_while_records_are_read(home, started, said, ends, held, number, words):
    home.save(record("0" * 16))
    sweep = create(home, "one", "", make_plan([TrialSpec("fqvit")], home), {"kind": "local"}, "harness sweep")
    home.save(record(sweep.planned[0].id))
    text = held("a record")
    process = started(*words)
    said(text)
    ends(process, number)


@both
def test_run_in_a_search(home, started, said, ends, number):
    """The search is saved, and the next run goes on where it was."""
    process = started("run", "--method", SEARCH, *SMALL)
    said("evolq (")
    wait_for(lambda: saved_searches(home))
    ends(process, number)
    assert not list(home.root.rglob("record.json"))
    assert saved_searches(home)


@pytest.mark.parametrize("number", [signal.SIGHUP, pytest.param(signal.SIGTERM, marks=nightly)])
def test_sweep_in_a_search(home, started, ends, gate, number):
    """Ctrl-C is in ``tests/sweep/launch/test_local.py``."""
    process = started("sweep", "--method", f"minmax,{SEARCH}", *SMALL, "--workers", "1")
    beat = gate.held(home)
    ends(process, number, "go on with: harness resume")
    wait_for(lambda: not heartbeat.process_alive(beat.pid, beat.started_process))
    states = counts(states_of(find(home, None)))
    assert states == {"done": 1, "lost": 1}
    assert saved_searches(home), "the search goes on where it was"


def test_what_is_ignored_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.orderly():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_are_as_before_afterwards():
    before = [signal.getsignal(number) for number in (*signals.STOPPING, signal.SIGALRM)], sys.unraisablehook
    with signals.orderly():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert signals.exit_code() == 143
        assert signals.told_to_stop()
    assert not signals.told_to_stop(), "a library call that follows has nothing to do with it"
    assert ([signal.getsignal(number) for number in (*signals.STOPPING, signal.SIGALRM)], sys.unraisablehook) == before


def test_what_a_library_makes_of_it_is_an_interruption_all_the_same(home, monkeypatch, capsys):
    def run(arguments):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise AttributeError("half a library")

    monkeypatch.setattr("harness.cli.actions.status.run", run)
    assert main(["status"]) == 143
    assert capsys.readouterr().err == "interrupted\n"


def test_an_interrupted_trial_has_not_failed(home, monkeypatch):
    def apply(*given):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            raise AttributeError("half a library")

    monkeypatch.setattr("harness.methods.fqvit.Fqvit.apply", apply)
    assert main(["run", "--method", "fqvit", *SMALL, "--quiet"]) == 130
    assert not list(home.root.rglob("record.json"))


def test_what_a_library_swallows_comes_again():
    """Python drops what is raised in ``__del__``: the interruption must not be lost."""

    class Deaf:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def drop():
        one = Deaf()
        del one
        while True:
            signal.pause()

    with pytest.raises(KeyboardInterrupt), signals.orderly():
        drop()
