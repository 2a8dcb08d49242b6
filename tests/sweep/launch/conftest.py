import os

import pytest

from tests.sweep.launch.waiting import Gate


@pytest.fixture
def gate(tmp_path, monkeypatch):
    (tmp_path / "gate").mkdir()
    path = [str(tmp_path / "gate"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(part for part in path if part))
    return Gate(tmp_path / "gate")
