import pytest
import torch
from hypothesis import settings

from tests import lanes

pytest_plugins = ["harness.testing.plugin", "tests.opening"]


# An example that takes long says something about the machine only.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    lanes.mark(items)
