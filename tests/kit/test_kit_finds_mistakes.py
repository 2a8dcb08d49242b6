"""The kit finds mistakes: each of these methods breaks one rule, and the check of that rule says which."""

import inspect

import pytest

from harness.testing import MethodKit, SourceKit

HEAD = '''
from dataclasses import dataclass
from typing import Annotated
import torch
from pydantic import Field
from harness.method.base import Method
from harness.method.calibration_source import CalibrationSource
from harness.method.registration import Role, register

APPLIED = []

@dataclass(frozen=True)
class Config:
    """Settings."""
    steps: Annotated[int, Field(ge=1, description="of nothing")] = 3
'''
METHOD = '''
@register("wrong", role=Role.CORRECT, needs=("scheme",), version=1)
class Plug(Method[Config]):
    """Breaks a rule."""
    Config = Config
    quick = {"steps": 1}
    def apply(self, model, calibration, context):
        name, operation = next(iter(model.weights.items()))
        APPLIED.append(name)
        BODY
'''
SOURCE = '''
@register("wrong", role=Role.SOURCE, version=1)
class Plug(CalibrationSource[Config]):
    """Breaks a rule."""
    Config = Config
    def images(self, model, count, preprocessing, context):
        return BODY
'''
DESCRIBED = 'Annotated[int, Field(ge=1, description="of nothing")]'
SHIFT = "model.shift_bias(operation.node, AMOUNT * torch.ones(len(operation.weight)))"
FALSE_SCHEME = METHOD.replace("CORRECT, needs", "SCHEME, provides").replace("BODY", "pass")
# What is wrong: the kit, the module, the check that fails and what it says.
MISTAKES = {
    "writes weights": (METHOD.replace("BODY", "operation.weight.data.add_(0.1)"), "untouched", "writes to full-precision"),
    "own random numbers": (METHOD.replace("BODY", SHIFT.replace("AMOUNT", "torch.rand(1)")), "seed", "context.generator"),
    "acts at 32 bits": (METHOD.replace("BODY", SHIFT.replace("AMOUNT", "9")), "32_bits", "at w32a32"),
    "remembers": (METHOD.replace("BODY", SHIFT.replace("AMOUNT", "len(APPLIED)")), "prefix", "on a loaded state"),
    "destroys": (METHOD.replace("BODY", SHIFT.replace("AMOUNT", "1e9")), "close", "squared error of the logits"),
    "provides nothing": (FALSE_SCHEME, "provides", "installs no quantizer"),
    "undocumented": (METHOD.replace("BODY", "pass"), "settings_are_a_frozen", "setting steps has no description"),
    "bad quick settings": (METHOD.replace('"steps": 1', '"steps": 0').replace("BODY", "pass"), "quick", "is refused"),
    "one colour": (SOURCE.replace("BODY", "torch.zeros(count, *preprocessing.input_size)"), "asked_for", "pixels are equal"),
    "too few": (SOURCE.replace("BODY", "torch.rand(1, *preprocessing.input_size)"), "asked_for", "makes images of shape"),
    "seed ignored": (SOURCE.replace("BODY", "torch.ones(count)"), "seed", "the seed has no effect"),
}


@pytest.fixture
def untouched(captured_model):
    """Give the shared network its weights back: one of the methods writes to them."""
    weights = {name: operation.weight.detach().clone() for name, operation in captured_model.weights.items()}
    yield
    for name, weight in weights.items():
        captured_model.weights[name].weight.data.copy_(weight)


def install(folder, module, text):
    """A package with the method ``wrong``."""
    (folder / f"{module}.py").write_text(text)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[harness.methods]\nwrong = {module}:Plug\n")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found_and_named(mistake, untouched, model, calibration, preprocessing, tmp_path, monkeypatch):
    body, about, message = MISTAKES[mistake]
    module = f"wrong_{mistake.replace(' ', '_')}"
    head = HEAD.replace(DESCRIBED, "int") if mistake == "undocumented" else HEAD
    install(tmp_path, module, head + body)
    monkeypatch.syspath_prepend(tmp_path)
    kit = SourceKit() if "SOURCE" in body else MethodKit()
    (check,) = (getattr(kit, name) for name in dir(kit) if name.startswith("test_") and about in name)
    given = {"method": "wrong", "model": model, "calibration": calibration, "preprocessing": preprocessing}
    wanted = inspect.signature(check).parameters
    with pytest.raises(AssertionError, match=message):
        check(**{name: value for name, value in {**given, "tmp_path": tmp_path}.items() if name in wanted})


def test_a_method_that_acts_at_other_widths_is_tested_at_those(untouched, model, calibration, tmp_path, monkeypatch):
    body = METHOD.replace("BODY", "if context.bits.weight == 3:\n            operation.weight.data.add_(0.1)")
    install(tmp_path, "narrow_only", HEAD + body)
    monkeypatch.syspath_prepend(tmp_path)
    MethodKit().test_full_precision_weights_stay_untouched("wrong", model, calibration)  # at w4a8 it does nothing
    kit = type("TestNarrow", (MethodKit,), {"bits": "w3a8"})()
    with pytest.raises(AssertionError, match="writes to full-precision"):
        kit.test_full_precision_weights_stay_untouched("wrong", model, calibration)


@pytest.mark.parametrize("names", [(), "clip"])
def test_a_kit_without_names_is_refused(names):
    kit = type("TestNothing", (MethodKit,), {"methods": names})()
    with pytest.raises(ValueError, match="expected a tuple of names"):
        kit.pytest_generate_tests(None)


@pytest.mark.parametrize("kit", [MethodKit, SourceKit])
def test_pytest_collects_nothing_of_a_kit_but_its_tests(kit):
    """It takes every function whose name begins with ``test`` for one."""
    collected = {name for name in dir(kit) if name.startswith("test")}
    assert collected == {name for name in collected if "method" in inspect.signature(getattr(kit, name)).parameters}
