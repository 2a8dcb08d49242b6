"""How many inputs, and the table at the end."""

import os

import pytest

from tests.hostile import ledger
from tests.hostile.world import World, made

NIGHTLY = "HARNESS_NIGHTLY"


def pytest_addoption(parser):
    parser.addoption("--nightly", action="store_true", help="thousands of hostile inputs instead of hundreds")


def pytest_configure(config):
    if config.getoption("--nightly", default=False):
        os.environ[NIGHTLY] = "1"


def pytest_terminal_summary(terminalreporter):
    for line in ledger.table():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def nightly():
    return bool(os.environ.get(NIGHTLY))


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A store with records, a sweep and work saved by a real trial; copied for every test."""
    return made(tmp_path_factory.mktemp("template") / "runs")


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    """A place with a store in it, and things around it that nobody may touch."""
    return World(tmp_path, template, monkeypatch)
