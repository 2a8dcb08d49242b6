"""Made-up records with per-image results, for leaderboards."""

import hashlib
import json

import numpy as np

from harness.leaderboard.board.evidence import Evidence
from harness.store.table import table
from tests.store.test_store import record

IMAGES = 1000


def steps(stack):
    return [{"name": name.partition("(")[0], "version": 1, "config": {"text": name}} for name in stack.split("+")]


def images(right, seed=0):
    """Per-image correctness with so many right ones; neighbours in accuracy share most images."""
    order = np.random.default_rng(seed).permutation(IMAGES)
    correct = np.zeros(IMAGES, dtype=bool)
    correct[order[:right]] = True
    return correct


def add(store, stack, right, seed=0, seconds=2.0, draw=None, **changes):
    """Store a trial with ``right`` of 1000 images right; returns its id."""
    correct = np.stack([images(right, seed if draw is None else draw), images(900)])
    metrics = {"top1": right / 10, "top1_fp32": 90.0, "agreement": 95.0, "logit_sqnr_db": 20.0}
    metrics |= {"n_images": IMAGES, "n_correct": right, "n_correct_fp32": 900}
    key = json.dumps([stack, seed, {name: value for name, value in changes.items() if name != "status"}], default=str)
    trial = hashlib.sha256(key.encode()).hexdigest()[:16]
    stages = [{"name": "fqvit", "seconds": seconds}, {"name": "evaluate", "seconds": 50.0}]
    spec = {"stack": steps(stack), "weights_sha256": "a" * 64, "preprocessing": {"crop_pct": 0.9}}
    environment = {"device": "cpu", "cpu": "Test CPU", "threads": 2}
    base = {"stack": stack, "seed": seed, "metrics": metrics, "stages": stages, "spec": spec, "size_bytes": 2_000_000}
    command = f"harness run --method {stack} --seed {seed}"
    store.save(record(trial, **{**base, "environment": environment, "command": command, **changes}), correct)
    return trial


def rows(store):
    return table(store.records())


def evidence(store):
    return Evidence(store, rows(store))
