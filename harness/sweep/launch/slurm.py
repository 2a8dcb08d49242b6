"""SLURM array jobs through submitit. Nothing else imports submitit.

Jobs run without ``srun`` and Python replaces the batch shell, so that it alone gets the warning signal; the store and the
heartbeats say what became of trials, submitit's own pickles are not read.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError

from harness.errors import UsageError
from harness.machine.logs import warnings_to_stderr
from harness.machine.progress import LineProgress
from harness.store.store import Store
from harness.sweep import heartbeat
from harness.sweep.heartbeat import Heart
from harness.sweep.launch.options import SlurmOptions
from harness.sweep.manifest import Submission, Sweep

SIGNAL_SECONDS = 60  # warning before a time limit; enough to write a search's state
DEFAULT_MAX_ARRAY = 1001
COMMAND_SECONDS = 60


class Pack:
    """What one job runs: one pack of a submission. Pickled by name, so that the job's own code is what runs.

    Args:
        store: Path of the store.
        sweep: Name of the sweep.
        submission: Number of the submission.
        index: Which of its packs.
    """

    def __init__(self, store: str, sweep: str, submission: int, index: int) -> None:
        self.store = store
        self.sweep = sweep
        self.submission = submission
        self.index = index

    def __call__(self) -> dict[str, str]:
        """Run the pack's trials; those that are done already are passed over."""
        from harness.sweep.launch.worker import run_pack

        warnings_to_stderr()
        self._heart = Heart(Store(Path(self.store)), heartbeat.environ_job(), LineProgress())
        return run_pack(self.store, self.sweep, self.submission, self.index, self._heart)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Called when the job is preempted or out of time: save the running search, then be queued again."""
        heart = getattr(self, "_heart", None)
        if heart is not None:
            heart.interrupt()
        return submitit.helpers.DelayedSubmission(Pack(self.store, self.sweep, self.submission, self.index))


def submit(sweep: Sweep, submission: Submission, options: SlurmOptions, code: Path, cluster: str = "slurm") -> list[str]:
    """Submit a job per pack, as arrays.

    Args:
        sweep: The sweep.
        submission: Its packs.
        options: What to ask SLURM for.
        code: Folder that comes first on the path of the jobs.
        cluster: submitit's name of the executor.

    Returns:
        Job ids in the order of the packs.

    Raises:
        UsageError: SLURM refuses the submission.
    """
    store, number = str(sweep.store.root.absolute()), submission.number
    packs = [Pack(store, sweep.name, number, index) for index in range(len(submission.packs))]
    arrays = chunks(packs, max_array())
    executor = _executor(submission.folder / "slurm", sweep.name, options, code, len(arrays), cluster)
    jobs: list[str] = []
    for array in arrays:
        try:
            jobs += [str(job.job_id) for job in executor.submit_array(array)]
        except FailedJobError as error:
            submission.started({"slurm": jobs})
            raise UsageError(
                f"SLURM refuses the submission: {_reason(str(error))}", "check the launcher's options"
            ) from error
        submission.started({"slurm": jobs})  # after each array: nothing is forgotten when a later one is refused
    return jobs


def _executor(
    folder: Path, name: str, options: SlurmOptions, code: Path, arrays: int, cluster: str
) -> submitit.AutoExecutor:
    path = f'export PYTHONPATH={shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}"'
    try:
        executor = submitit.AutoExecutor(
            folder=folder,
            cluster=cluster,
            slurm_max_num_timeout=options.max_timeouts,
            slurm_python=f"exec {shlex.quote(sys.executable)} -P",  # -P: not the code of the present folder
        )
    except RuntimeError as error:
        raise UsageError("no SLURM found here: srun is not on the path", "use --launcher local") from error
    executor.update_parameters(name=name[:60], timeout_min=options.timeout_min, cpus_per_task=options.cpus)
    if cluster == "slurm":
        executor.update_parameters(
            mem_gb=options.memory_gb,
            slurm_setup=[*options.setup, path, f"export OMP_NUM_THREADS={options.cpus}"],
            slurm_use_srun=False,
            slurm_array_parallelism=max(1, options.array_parallelism // arrays),
            slurm_additional_parameters={**options.sbatch, "signal": f"B:USR2@{SIGNAL_SECONDS}"},
            **_asked(options),
        )
    return executor


def _asked(options: SlurmOptions) -> dict[str, Any]:
    values: dict[str, Any] = {
        f"slurm_{name}": getattr(options, name) for name in ("partition", "account", "qos", "constraint")
    }
    values["gpus_per_node"] = options.gpus or None
    return {name: value for name, value in values.items() if value is not None}


def chunks(packs: Sequence[Pack], most: int) -> list[list[Pack]]:
    """Arrays of at most ``most`` jobs."""
    return [list(packs[start : start + most]) for start in range(0, len(packs), most)]


def max_array() -> int:
    """The cluster's MaxArraySize, SLURM's own default where it does not answer."""
    try:
        text = _call(["scontrol", "show", "config"])
    except (OSError, subprocess.SubprocessError):
        return DEFAULT_MAX_ARRAY
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", text)
    return max(1, int(found[1])) if found else DEFAULT_MAX_ARRAY


@dataclass(frozen=True)
class JobState:
    """What SLURM says of a job.

    Attributes:
        state: PENDING, RUNNING, REQUEUED, CANCELLED, ...; empty when SLURM does not know it.
        detail: Exit code or reason of waiting.
        active: It waits or runs.
    """

    state: str
    detail: str
    active: bool


def job_states(jobs: Iterable[str]) -> dict[str, JobState]:
    """States of jobs: from the queue, for those that left it from the accounting where there is one.

    Raises:
        UsageError: The queue cannot be read.
    """
    wanted = set(jobs)
    if not wanted:
        return {}
    try:
        lines = _call(["squeue", "-h", "-r", "-t", "all", "-o", "%i|%T|%r"]).splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"SLURM's queue cannot be read: {_reason(_text(error))}") from error
    found: dict[str, JobState] = {}
    for job, state, reason in (line.split("|", 2) for line in lines if line.count("|") >= 2):
        if job in wanted and state in ACTIVE:
            found[job] = JobState(state, reason, True)
    return {**_accounted(wanted - set(found)), **found}


# Everything that is not an end; a job that is queued again is REQUEUED for a moment.
ACTIVE = (
    "PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED",
    "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SPECIAL_EXIT", "RESV_DEL_HOLD",
)  # fmt: skip


def _accounted(jobs: set[str]) -> dict[str, JobState]:
    """Final states of jobs that left the queue."""
    arrays = sorted({job.partition("_")[0] for job in jobs})
    if not arrays:
        return {}
    try:
        lines = _call(["sacct", "-X", "-n", "-P", "-j", ",".join(arrays), "-o", "JobID,State,ExitCode"]).splitlines()
    except (OSError, subprocess.SubprocessError):
        return {}  # no accounting: the caller says that the job left the queue, which is all that is known
    rows = (line.split("|") for line in lines if line.count("|") == 2)
    return {job: JobState(state, f"exit {code}", False) for job, state, code in rows if job in jobs}


def cancel(jobs: Sequence[str]) -> list[str]:
    """Cancel the jobs that wait or run, and return them.

    Raises:
        UsageError: SLURM refuses.
    """
    active = [job for job, state in job_states(jobs).items() if state.active]
    for start in range(0, len(active), 500):  # argument lists have a limit
        try:
            _call(["scancel", *active[start : start + 500]])
        except (OSError, subprocess.SubprocessError) as error:
            raise UsageError(f"scancel failed: {_reason(_text(error))}") from error
    return active


def log_files(submission: Submission, job: str) -> list[Path]:
    """What a job wrote outside its trials."""
    folder = submission.folder / "slurm"
    return sorted(folder.glob(f"{job}_*_log.*"))


def _call(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True)
    return result.stdout


def _text(error: Exception) -> str:
    return (error.stderr or "") if isinstance(error, subprocess.CalledProcessError) else str(error)


def _reason(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line]
    return "; ".join(dict.fromkeys(errors)) or (lines[-1] if lines else "no answer")
