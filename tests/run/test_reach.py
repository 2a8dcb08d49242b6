"""What a method can get hold of: from what ``apply`` gets, nothing leads to labels, evaluation images or where they lie.

The walk follows every reference that Python's collector knows: attributes, slots, items, closures, bound methods, default
values, generators. It stops at modules and classes: what can be imported can be reached by any Python code.
"""

import gc
import sys
import types
from collections import deque
from pathlib import Path

import pytest
import torch
from torch._subclasses import FakeTensor

from harness.baselines.observers import MinMax
from harness.data.preprocessing import of_model
from harness.data.sets import DataSource, EvaluationSet
from harness.data.sources import open_source
from harness.run.prepare import Prepared
from harness.run.run_trial import run_trial
from harness.run.session import Session
from harness.run.work import Done, Given
from harness.store.store import Store
from harness.sweep.heartbeat import Heart
from harness.sweep.manifest import Sweep
from harness.trial.spec import EVALUATION, TrialSpec
from tests.run.folder_trials import image_folder, spec

FORBIDDEN = (DataSource, EvaluationSet, Prepared, Given, Done, Session, TrialSpec, Sweep)
OPEN = (types.ModuleType, type, types.FrameType)


def reachable(*roots):
    """Every object that can be reached from some, each with the path of types that leads there."""
    modules = {id(vars(module)) for module in list(sys.modules.values()) if isinstance(module, types.ModuleType)}
    seen, waiting, found = {id(root) for root in roots}, deque((root, type(root).__name__) for root in roots), []
    while waiting:
        one, path = waiting.popleft()
        found.append((one, path))
        for child in gc.get_referents(one):
            if id(child) in seen or id(child) in modules or isinstance(child, OPEN):
                continue
            seen.add(id(child))
            waiting.append((child, f"{path} > {type(child).__name__}"))
    return found


def leaks(found, root, images, labels):
    """What is reachable that no method may see, one text each."""
    problems = []
    for one, path in found:
        if isinstance(one, FORBIDDEN):
            problems.append(path)
        elif isinstance(one, (str, Path)) and str(root) in str(one):
            problems.append(f"{path}: {one}")
        elif isinstance(one, torch.Tensor) and shows(one, images, labels):
            problems.append(f"{path}: tensor {tuple(one.shape)}")
    return problems


def shows(tensor, images, labels):
    """Whether a tensor holds an evaluation image, the labels, or something computed for all evaluation images."""
    if isinstance(tensor, FakeTensor):
        return False  # a shape without numbers
    if tensor.shape[1:] == images.shape[1:] and tensor.ndim == images.ndim:
        return any(torch.equal(one.cpu(), other) for one in tensor for other in images)
    return tensor.ndim > 0 and len(tensor) == len(labels) and (tensor.ndim == 1 and torch.equal(tensor.cpu(), labels))


@pytest.fixture
def attacked(monkeypatch):
    """Lets min-max look, after its work, at all it can reach; gives the list of what looks."""
    real = MinMax.apply

    def apply(self, model, calibration, context):
        real(self, model, calibration, context)
        for check in attacked_by:
            check((self, model, calibration, context))

    attacked_by = []
    monkeypatch.setattr(MinMax, "apply", apply)
    return attacked_by


def test_nothing_leads_to_labels_or_evaluation_images(tmp_path, attacked, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = image_folder(tmp_path / "photographs")
    store, session = Store(tmp_path / "runs"), Session()
    heart = Heart(store, "job")
    problems, counts = [], []

    def look(given):
        source = session.opened.once("source", (str(root), EVALUATION), pytest.fail)
        preprocessing = trial_preprocessing(session)
        images, labels = next(iter(source.evaluation(None, preprocessing).batches(100)))
        found = reachable(*given)
        problems.extend(leaks(found, root, images, labels))
        counts.append(len(found))

    attacked.append(look)
    for bits in ("w8a8", "w4a8"):  # the second after an evaluation in the same process
        record, _ = run_trial(spec(root, bits=bits), store, heart, session=session)
        assert record["status"] == "done", record.get("error")
    assert len(counts) == 2
    assert min(counts) > 1000, "the walk goes somewhere"
    assert problems == []


def trial_preprocessing(session):
    """That of the network which the session holds."""
    (_, parts) = session.opened._kinds["model"]
    (result,) = parts.values()
    return of_model(result.value.network, {})


def test_the_walk_finds_what_is_hidden_in_closures_and_slots():
    source = open_source("embedded")

    class Slotted:
        __slots__ = ("kept",)

    slotted = Slotted()
    slotted.kept = [lambda: source]
    assert any(isinstance(one, DataSource) for one, _ in reachable(types.SimpleNamespace(a={"b": slotted})))
    assert any(isinstance(one, DataSource) for one, _ in reachable(source.evaluation))
