"""Wait for something that other processes do, and make them wait: tests depend on states, never on times."""

import glob
import time
from pathlib import Path

from harness.sweep import heartbeat

# Into every process that is started: after some blocks a search is saved and held there for as long as a file exists.
HOLDING = """
import os, sys, time
if {hold!r} and ("harness.sweep.launch.process" in sys.orig_argv or "submitit.core._submit" in sys.orig_argv):
    from harness.method import checkpoint
    checkpoint.WRITE_SECONDS = 0
    done, blocks = checkpoint.Checkpoint.block_done, []
    def block_done(self, *given):
        done(self, *given)
        blocks.append(1)
        if len(blocks) >= 2:
            open({hold!r} + ".held." + str(os.getpid()), "w").close()
        while len(blocks) >= 2 and os.path.exists({hold!r}):
            time.sleep(0.02)
    checkpoint.Checkpoint.block_done = block_done
"""

# The command line of a process that is killed as soon as sbatch has returned.
KILLED_AFTER_SBATCH = """
import os, sys
from submitit.slurm.slurm import SlurmExecutor
SlurmExecutor._get_job_id_from_submission_command = lambda *given: os.kill(os.getpid(), 9)
from harness.cli.main import main
sys.exit(main())
"""
# In a job, the first trial meets what the file says, each time that it is started.
POISON = """
if os.path.exists({file!r}) and "submitit.core._submit" in sys.orig_argv:
    from harness.baselines import observers
    def apply(self, *given):
        what = open({file!r}).read()
        if what == "kill":
            os.kill(os.getpid(), 9)
        if what == "deaf":
            import signal
            for number in (signal.SIGUSR2, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            open({file!r} + ".met", "w").close()
        while what == "deaf":
            time.sleep(1)
        eaten = []
        while what == "memory":
            eaten.append(bytearray(b"x") * 2**27)
            time.sleep(0.1)
    observers.MinMax.apply = apply
"""


def wait_for(look, seconds=900, pause=0.05):
    """The first true result of ``look``; the limit only ends tests that would hang."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(pause)
    raise AssertionError("waited in vain")


def searching(store, trials=None, steps=20):
    """The heartbeat of the first of the trials (all of the store when none are named) that is well inside a search.

    A beat that a dead process has left is none.
    """
    for trial in trials if trials is not None else [folder.name for folder in store.trial_folders()]:
        beat = heartbeat.read(store, trial)
        if beat is not None and beat.stage == "evolq" and beat.step > steps and beat.alive():
            return beat
    return None


def saved_searches(store):
    """The files of searches whose state is saved. A sweep's copy of the code comes and goes: it is not looked at."""
    return [Path(file) for file in glob.glob(str(store.root / "states" / "*" / "*" / "partial.safetensors"))]


class Gate:
    """Holds searches of other processes after their second block, until it is opened.

    Args:
        folder: An empty folder, which comes onto the path of the processes.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "hold"
        self._file.touch()
        (folder / "sitecustomize.py").write_text(HOLDING.format(hold=str(self._file)))

    def open(self) -> None:
        """Let searches go on, also those that come later."""
        self._file.unlink()

    def held(self, store, trials=None):
        """Wait until a search stands at the gate, not in the middle of a write; returns its heartbeat."""

        def standing():
            beat = searching(store, trials, steps=0)
            return beat if beat is not None and Path(f"{self._file}.held.{beat.pid}").exists() else None

        wait_for(lambda: saved_searches(store))
        return wait_for(standing)


class Poison:
    """What ``minmax`` does in jobs, instead of its work, while there is poison.

    Args:
        folder: On the path of the processes, with a ``sitecustomize.py`` already (that of ``Gate``).
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "poison"
        with (folder / "sitecustomize.py").open("a") as code:
            code.write(POISON.format(file=str(self._file)))

    def lay(self, what: str) -> None:
        """``kill``: its process; ``memory``: use more and more of it; ``deaf``: hang, and ignore what SLURM says."""
        self._file.write_text(what)

    def met(self) -> None:
        """Wait until a process has become deaf."""
        wait_for(self._file.with_name("poison.met").exists)

    def remove(self) -> None:
        """Let ``minmax`` work again."""
        self._file.unlink()
