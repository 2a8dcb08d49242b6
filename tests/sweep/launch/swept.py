"""Sweeps as ``harness sweep`` leaves them, without a cluster: submissions, heartbeats, what SLURM's commands would print."""

import subprocess
import time
from dataclasses import asdict

from harness.store.store import write_json
from harness.sweep import heartbeat
from harness.sweep.heartbeat import Beat
from harness.sweep.launch import cluster, orders
from harness.sweep.launch.arrays import divide
from harness.sweep.manifest import create
from harness.sweep.plan import make_plan
from harness.trial.spec import TrialSpec


def spec(method="fqvit", **changes):
    return TrialSpec(method, **{"bits": "w4a8", "calib": 8, "eval_limit": 50, "device": "cpu", **changes})


def swept(store, specs, packs=None, gpus=0, **content):
    """A sweep with one submission, as ``harness sweep`` leaves it before submitting."""
    plan = make_plan(specs, store)
    sweep = create(store, "test", "", plan, {"kind": "slurm"}, "harness sweep")
    ids = packs or [[cell.id] for cell in plan.cells]
    settings = {"share": True, "fail_fast": False, "changes": {}}
    arrays = [array.facts() for array in divide(len(ids), 1000, 64)]
    about = {**settings, "code": "", "launcher": {"kind": "slurm"}, "packs": ids, "arrays": arrays}
    submission = sweep.submission({**about, **content})
    orders.write(submission, {one.id: one for one in sweep.planned}, {**settings, "gpus": gpus, "cpus": 1})
    return sweep, submission


def mocked(monkeypatch, queue, accounting="", asked=None):
    """SLURM's commands: what squeue prints (id, state, name, reason), what sacct prints; None: there is no accounting."""

    def call(command):
        if asked is not None:
            asked.append(command)
        if accounting is None and command[0] == "sacct":
            raise subprocess.CalledProcessError(1, command, stderr="accounting is disabled")
        return queue if command[0] == "squeue" else accounting

    monkeypatch.setattr(cluster, "_call", call)


def elsewhere(store, trial, job="", **changes):
    """A heartbeat of a process on another machine, fresh unless said otherwise."""
    now = time.time()
    beat = Beat("another-node", 4711, 1.0, job, stage="omse", step=3, steps=7, started=now - 30, beat=now)
    store.folder(trial).mkdir(parents=True, exist_ok=True)
    write_json(heartbeat.path_of(store, trial), {**asdict(beat), **changes})
