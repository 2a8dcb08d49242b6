import os
import signal

import pytest
import torch
from hypothesis import settings

from tests import lanes

pytest_plugins = ["harness.testing.plugin", "tests.opening"]


# An example that takes long says something about the machine only. A change is judged by the same examples every time; the
# nightly form looks for new ones.
settings.register_profile("tests", deadline=None, derandomize=not lanes.NIGHTLY)
settings.load_profile("tests")

# Test processes side by side (pytest -n) share the cores: two with two threads each would wait for each other.
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if PROCESSES > 1:
    THREADS = max(1, (os.cpu_count() or 1) // PROCESSES)
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
    torch.set_num_threads(THREADS)

# A shell lets jobs in the background ignore Ctrl-C, and so would everything that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    lanes.mark(items)
