"""The placement that integer kernels compute, on the embedded network: what ``test_export`` shows of a real one nightly."""

import json

import pytest

from harness.cli.main import main
from harness.run.run_trial import run_trial
from harness.store.store import Store
from harness.trial.spec import TrialSpec

pytestmark = pytest.mark.slow


def test_all_linear_operations_run_in_integer_kernels(tmp_path):
    """Patches and classifier included."""
    store = Store(tmp_path / "runs")
    spec = TrialSpec("minmax(sites=deploy)", bits="w8a8", calib=8, eval_limit=60, device="cpu")
    trial = run_trial(spec, store).record["id"]
    assert main(["export", trial, "--store", str(store.root), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    gate = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["gate"]
    assert gate["kernels"]["MatMulIntegerToFloat"] == 26
    assert gate["integer_macs_of_layers"] == 1.0
    assert gate["integer_macs"] > 0.85, "the rest is attention's products"
