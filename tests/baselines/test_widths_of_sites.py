"""Switches that look at widths look at those of the site, where a map of bits gives it others than the trial's."""

import pytest

from harness.baselines import adalog
from harness.quant.network.inventory import altered
from tests.baselines.applying import apply

RELU = "relumlp(iterations=0,batch=16,loss=mse)"


@pytest.fixture
def reparameterised(model, calibration, context, monkeypatch):
    """A function of bits and settings: the norms that ``adalog`` reparameterises, without its search."""
    monkeypatch.setattr(adalog.OperationSearch, "run", lambda self: None)

    def made(bits, settings="candidates=32,steps=1,rounds=1,images=2"):
        model.clear()
        apply(model, calibration, context, f"adalog({settings})", bits=bits)
        return sorted(model.replaced_norms)

    return made


def test_adalog_reparameterises_the_norms_whose_readers_have_equal_widths(reparameterised):
    every = reparameterised("w4a4")
    assert len(every) == 12
    assert reparameterised("w4a8") == []
    found = reparameterised("w4a8;blocks.0=w8")
    assert len(found) == 2
    rest = reparameterised("w4a4;blocks.0=w8")
    assert sorted([*found, *rest]) == every
    assert len(reparameterised("w4a4;blocks.0.mlp=w8")) == 11
    assert reparameterised("w4a4;blocks.0=8") == every, "eight bits of both are equal too"
    assert len(reparameterised("w4a4;blocks.0=a32")) == 10, "what stays in full precision needs no scale"


def test_adalog_reparameterises_all_or_none_on_request(reparameterised):
    settings = "candidates=32,steps=1,rounds=1,images=2,reparameterise={}"
    assert len(reparameterised("w4a8;blocks.0=w8", settings.format("always"))) == 12
    assert reparameterised("w4a8;blocks.0=w8", settings.format("never")) == []


@pytest.mark.parametrize(
    ("bits", "replaced"),
    [
        ("w4a4", [0, 1, 2, 3, 4, 5]),
        ("w4a32", []),
        ("w4a4;blocks.0.mlp=a32", [1, 2, 3, 4, 5]),
        ("w4a32;blocks.2.mlp=a8;blocks.4=4", [2, 4]),
        ("w4a32;blocks.2.attn=a8", []),
    ],
)
def test_relumlp_replaces_where_the_activation_is_quantized(bits, replaced, model, calibration, context):
    apply(model, calibration, context, RELU, bits=bits)
    assert altered(model) == ([f"{len(replaced)} activation functions replaced by ReLU"] if replaced else [])
    names = [f"blocks.{block}.mlp.{layer}.weight" for block in replaced for layer in ("fc1", "fc2")]
    assert sorted(model.replaced_weights) == names


@pytest.mark.parametrize(
    ("bits", "activations", "weights", "missing"),
    [
        ("w4a4", 8, 8, []),
        ("w4a32", 0, 8, []),
        ("w32a4", 8, 0, []),
        ("w4a4;blocks.1=a32", 7, 8, ["blocks.1 (activations)"]),
        ("w4a4;blocks.1=w32", 8, 7, ["blocks.1 (weights)"]),
        ("w4a32;blocks.0.attn=a4", 2, 8, ["blocks.1 (activations)"]),  # and what reads the image alone, as at w4a4
        ("w32a4;blocks.3.mlp=w4", 8, 1, ["blocks.1 (weights)"]),
    ],
)
def test_isvit_learns_where_something_is_quantized(bits, activations, weights, missing, model, calibration, context):
    settings = "iterations=1,batch=4,images=4,scale_images=4"
    losses = apply(model, calibration, context, f"isvit({settings})", bits=bits).notes["losses"]
    stages = [f"({stage})" for stage in ("activations", "weights")]
    assert [sum(name.endswith(stage) for name in losses) for stage in stages] == [activations, weights]
    known = {f"{segment.name} {stage}" for segment in model.segments for stage in stages}
    assert {*losses, *missing} <= known
    assert not {*missing} & {*losses}
