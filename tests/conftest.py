from pathlib import Path

import pytest
import torch
from hypothesis import settings

from harness.data.preprocessing import of_model
from harness.data.sets import CalibrationSet
from harness.data.sources import open_source
from harness.method.base import Context
from harness.models.loading import load_model
from harness.quant.network.qmodel import QuantizedModel, quantizable
from harness.store.store import Store
from harness.trial.bits import Bits
from tests import lanes
from tests.opening import _opened_once, opened_afresh  # noqa: F401 (fixtures)


@pytest.fixture(scope="session")
def embedded():
    return load_model("embedded")


@pytest.fixture(scope="session")
def preprocessing(embedded):
    return of_model(embedded.network, {})


@pytest.fixture(scope="session")
def calibration(preprocessing) -> CalibrationSet:
    return open_source("embedded").calibration(16, 0, preprocessing)


@pytest.fixture(scope="session")
def captured_model(embedded, preprocessing) -> QuantizedModel:
    return quantizable(embedded.network, preprocessing.input_size, embedded.name)


@pytest.fixture
def model(captured_model: QuantizedModel) -> QuantizedModel:
    """The embedded network without quantizers; capture is shared, quantizers are not."""
    captured_model.clear()
    return captured_model


@pytest.fixture
def context():
    return lambda bits="w4a8", seed=0, **more: Context(Bits.parse(bits), seed, **more)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


# An example that takes long says something about the machine only.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    lanes.mark(items)
