import pytest
import torch

pytest_plugins = ["harness.testing.plugin"]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
