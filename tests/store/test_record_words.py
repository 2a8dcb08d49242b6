"""Parts of a record as texts of a table."""

import pytest

from harness.store.record_words import altered_of, coverage_of, device_of
from tests.store.test_store import record


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"device": "cpu", "cpu": "X", "threads": 1}, "CPU, X, 1 thread"),
        ({"device": "cpu", "cpu": "X", "threads": 2}, "CPU, X, 2 threads"),
        ({"device": "cpu", "cpu": None}, "CPU, unknown, ? threads"),
        ({"device": "NVIDIA X"}, "NVIDIA X"),
        ({}, None),
    ],
)
def test_hardware(machine, said):
    assert device_of(machine) == said


def test_altered_networks():
    assert altered_of(record()) is None
    assert altered_of(record(altered=["a", "b"])) == "a; b"


def test_coverage_by_width():
    rows = [
        {"tensors": "weights", "total": 4, "quantized": 4, "bits": [4]},
        {"tensors": "values", "total": 4, "quantized": 1, "bits": [8]},
        {"tensors": "norms", "total": 4, "quantized": 0, "bits": []},
    ]
    assert coverage_of(rows) == "4 bit: weights; 8 bit: values (1 of 4); 32 bit: norms"
    assert coverage_of([]) is None
