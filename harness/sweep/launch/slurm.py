"""SLURM array jobs through submitit. Nothing else imports submitit.

Jobs run without ``srun`` and Python replaces the batch shell, so that it alone gets the warning signal; the store and the
heartbeats say what became of trials, submitit's own pickles are not read.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import DelayedSubmission, FailedJobError, JobPaths

from harness.errors import UsageError
from harness.machine.logs import warnings_to_stderr
from harness.store.store import Store
from harness.sweep.launch import orders, snapshot
from harness.sweep.launch.arrays import PlannedArray, array_name, base_of
from harness.sweep.launch.options import SlurmOptions
from harness.sweep.launch.refusals import option_of, reason_of
from harness.sweep.manifest import Sweep
from harness.sweep.submission import Submission

SIGNAL_SECONDS = 60  # warning before a time limit; enough to write a search's state


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
        # Here, not above: while torch loads, submitit must have its handler of the warning signal in place already.
        from harness.sweep.launch.job import Job

        warnings_to_stderr()
        sweep = Sweep(Store(Path(self.store)), self.sweep)
        folder = sweep.folder / "submissions" / str(self.submission)
        self._job = Job(sweep, orders.read(folder, self.index), folder / "slurm")
        return self._job.run()

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Called when the job is preempted or out of time: save running searches, then be queued again."""
        job = getattr(self, "_job", None)
        if job is not None:
            job.interrupt()
        return submitit.helpers.DelayedSubmission(Pack(self.store, self.sweep, self.submission, self.index))


def submit(
    sweep: Sweep,
    submission: Submission,
    options: SlurmOptions,
    arrays: Sequence[PlannedArray],
    code: Path,
    cluster: str = "slurm",
) -> list[str]:
    """Submit a job per pack, as arrays.

    Args:
        sweep: The sweep.
        submission: Its packs.
        options: What to ask SLURM for.
        arrays: Which packs go together.
        code: Folder that comes first on the path of the jobs.
        cluster: submitit's name of the executor.

    Returns:
        Job ids in the order of the packs.

    Raises:
        UsageError: SLURM refuses the submission.
    """
    jobs: list[str] = []
    submission.started({"slurm": jobs})
    for number, array in enumerate(arrays):
        packs = [_pack(sweep, submission, index) for index in range(array.first, array.first + array.count)]
        asked = {"name": array_name(submission, number), **_limits(array, arrays, jobs)}
        executor = _executor(submission.folder / "slurm", asked, options, code, cluster)
        try:
            jobs += [str(job.job_id) for job in executor.submit_array(packs)]
        except FailedJobError as error:
            reason = reason_of(str(error))
            option = option_of(reason)
            hint = f"it is about {option}" if option else "check the launcher's options"
            raise UsageError(f"SLURM refuses the submission: {reason}", hint) from error
        submission.started({"slurm": jobs})  # after each array: nothing is forgotten when a later one is refused
    return jobs


def adopt(sweep: Sweep, submission: Submission, jobs: Sequence[str], options: SlurmOptions) -> int:
    """Take up jobs of a submission that was killed before it could note them; returns how many were not noted.

    Their pickles may be missing too, and a job waits for its own only for a minute.
    """
    noted = submission.jobs.get("slurm", [])
    for index, job in enumerate(jobs):
        path = JobPaths(submission.folder / "slurm", job_id=job).submitted_pickle
        if job and not path.exists():
            delayed = DelayedSubmission(_pack(sweep, submission, index))
            delayed.set_timeout(options.timeout_min, options.max_timeouts)
            delayed.dump(path)
    found = list(takewhile(bool, jobs))
    submission.started({"slurm": found})
    return len(found) - len(noted)


def _pack(sweep: Sweep, submission: Submission, index: int) -> Pack:
    return Pack(str(sweep.store.root.absolute()), sweep.name, submission.number, index)


def _limits(array: PlannedArray, arrays: Sequence[PlannedArray], jobs: Sequence[str]) -> dict[str, Any]:
    """How many jobs of an array may run at a time, and whose end it waits for."""
    before = array.after if array.follows is None else (base_of(jobs[arrays[array.follows].first]),)
    waits = {"slurm_dependency": "afterany:" + ":".join(before)} if before else {}
    return {"slurm_array_parallelism": array.parallel, **waits}


def _executor(
    folder: Path, asked: Mapping[str, Any], options: SlurmOptions, code: Path, cluster: str
) -> submitit.AutoExecutor:
    try:
        executor = submitit.AutoExecutor(
            folder=folder,
            cluster=cluster,
            slurm_max_num_timeout=options.max_timeouts,
            slurm_python=f"exec {shlex.quote(sys.executable)} -P",  # -P: not the code of the present folder
        )
    except RuntimeError as error:
        raise UsageError("no SLURM found here: srun is not on the path", "use --launcher local") from error
    executor.update_parameters(timeout_min=options.timeout_min, cpus_per_task=options.cpus)
    if cluster == "slurm":
        path = f'export PYTHONPATH={shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}" {snapshot.NO_BYTECODE}=1'
        executor.update_parameters(
            mem_gb=options.memory_gb,
            slurm_setup=[*options.setup, snapshot.verify_line(code), path, f"export OMP_NUM_THREADS={options.cpus}"],
            slurm_use_srun=False,
            slurm_additional_parameters={**options.sbatch, "signal": f"B:USR2@{SIGNAL_SECONDS}"},
            **_asked(options),
            **asked,
        )
    return executor


def _asked(options: SlurmOptions) -> dict[str, Any]:
    values: dict[str, Any] = {
        f"slurm_{name}": getattr(options, name) for name in ("partition", "account", "qos", "constraint")
    }
    values["gpus_per_node"] = options.gpus or None
    return {name: value for name, value in values.items() if value is not None}
