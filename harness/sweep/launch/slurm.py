"""SLURM array jobs through submitit. Nothing else imports submitit.

Jobs run without ``srun`` and Python replaces the batch shell, so that it alone gets the warning signal; the store and the
heartbeats say what became of trials, submitit's own pickles are not read.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
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
from harness.sweep.launch import snapshot
from harness.sweep.launch.cluster import max_array, reason_of
from harness.sweep.launch.options import SlurmOptions
from harness.sweep.manifest import Submission, Sweep

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
                f"SLURM refuses the submission: {reason_of(str(error))}", "check the launcher's options"
            ) from error
        submission.started({"slurm": jobs})  # after each array: nothing is forgotten when a later one is refused
    return jobs


def _executor(
    folder: Path, name: str, options: SlurmOptions, code: Path, arrays: int, cluster: str
) -> submitit.AutoExecutor:
    path = f'export PYTHONPATH={shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}" {snapshot.NO_BYTECODE}=1'
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
            slurm_setup=[*options.setup, snapshot.verify_line(code), path, f"export OMP_NUM_THREADS={options.cpus}"],
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
