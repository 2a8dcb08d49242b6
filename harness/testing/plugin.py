"""Pytest fixtures: the embedded network, captured once a session, calibration images, contexts and an empty store.

A fixture of the same name in your own ``conftest.py`` takes the place of one of these: with your own ``embedded`` all
tests run on your network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.data.preprocessing import Preprocessing, of_model
from harness.data.sets import CalibrationSet
from harness.data.sources import open_source
from harness.method.base import Context
from harness.models.loading import LoadedModel, load_model
from harness.quant.network.qmodel import QuantizedModel, quantizable
from harness.store.store import Store
from harness.trial.bits import Bits
from harness.trial.spec import FLOAT


@pytest.fixture(scope="session")
def embedded() -> LoadedModel:
    """The network that comes with the package: a small vision transformer of Fashion-MNIST."""
    return load_model("embedded")


@pytest.fixture(scope="session")
def preprocessing(embedded: LoadedModel) -> Preprocessing:
    """How images become its input."""
    return of_model(embedded.network, {})


@pytest.fixture(scope="session")
def calibration(preprocessing: Preprocessing) -> CalibrationSet:
    """Sixteen calibration images, the same in every session."""
    return open_source("embedded").calibration(16, 0, preprocessing)


@pytest.fixture(scope="session")
def captured_model(embedded: LoadedModel, preprocessing: Preprocessing) -> QuantizedModel:
    """The captured network: one for all tests, because capture takes seconds. Use ``model``."""
    return quantizable(embedded.network, preprocessing.input_size, embedded.name)


@pytest.fixture
def model(captured_model: QuantizedModel) -> QuantizedModel:
    """The captured network without quantizers and corrections, with float arithmetic."""
    captured_model.clear()
    captured_model.arithmetic = FLOAT
    return captured_model


@pytest.fixture
def context() -> Callable[..., Context]:
    """A function of widths, seed and further fields that makes a step's context: ``context("w4a8", seed=3)``."""

    def make(bits: str = "w4a8", seed: int = 0, **more: Any) -> Context:
        return Context(Bits.parse(bits), seed, **more)

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "runs")
