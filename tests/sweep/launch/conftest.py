import os

import pytest

from harness.sweep import heartbeat
from tests.sweep.launch.waiting import Gate


@pytest.fixture
def gate(tmp_path, monkeypatch):
    (tmp_path / "gate").mkdir()
    path = [str(tmp_path / "gate"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(part for part in path if part))
    return Gate(tmp_path / "gate")


@pytest.fixture
def quick_beats(monkeypatch):
    monkeypatch.setenv(heartbeat.INTERVAL_VARIABLE, "0.2")
    for name in [name for name in os.environ if name.startswith("SLURM_JOB") or name.startswith("SLURM_ARRAY")]:
        monkeypatch.delenv(name)
