import pytest
import torch

from tests import lanes
from tests.opening import _opened_once, opened_afresh  # noqa: F401 (fixtures)

pytest_plugins = ["harness.testing.plugin"]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    lanes.mark(items)
