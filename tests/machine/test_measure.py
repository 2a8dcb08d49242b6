"""What is said of the machine."""

import os

import pytest
import torch

from harness.machine.measure import environment, load_per_core


def refuses():
    raise OSError("no load average here")


def test_load_is_that_of_the_last_minute_over_all_cores(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (6.0, 40.0, 80.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert load_per_core() == 1.5
    assert environment(torch.device("cpu"), 0.25)["load"] == {"start": 0.25, "end": 1.5}


def test_a_system_that_does_not_say_its_load(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", refuses)
    assert load_per_core() is None
    assert environment(torch.device("cpu"))["load"] is None
    assert environment(torch.device("cpu"), 0.5)["load"] == {"start": 0.5, "end": None}
    monkeypatch.delattr(os, "getloadavg")
    assert load_per_core() is None


@pytest.mark.parametrize("cores", [1, None])
def test_a_system_that_does_not_say_its_cores(monkeypatch, cores):
    monkeypatch.setattr(os, "getloadavg", lambda: (2.0, 2.0, 2.0))
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert load_per_core() == 2.0
