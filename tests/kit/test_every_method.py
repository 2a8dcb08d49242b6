"""What every registered method must keep to, run over the registry: a new method is covered by being there."""

import pytest
import torch
from safetensors.torch import load_file

from harness.method import registry
from harness.method.base import Context, Protocol
from harness.method.calibration_source import check_source
from harness.method.registration import Role
from harness.method.stack import check
from harness.quant.network.inventory import off_grid_sites
from harness.quant.network.state import load_state, save_state, state_of
from harness.trial.bits import Bits

# Settings that keep a method quick; methods that are not named here run with their defaults.
QUICK = {
    "evolq": "(passes=1,cycles=1)",
    "gradopt": "(passes=1,steps=1)",
    "ptq4vit": "(steps=6,rounds=1)",
    "easyquant": "(steps=6)",
    "adaround": "(iterations=2)",
    "brecq": "(iterations=2)",
    "qdrop": "(iterations=2)",
    "adalog": "(candidates=32,steps=2,rounds=1)",
    "fimaq": "(iterations=3,rank=2)",
    "psaqv2": "(rounds=1,image_steps=1,student_steps=2)",
}
QUICK_SOURCES = {"psaq": "(iterations=3)"}
# Engines of other libraries have a kit of their own (tests/baselines/test_engines.py): they put a network in our place.
NAMES = sorted(name for name, info in registry.available().items() if info.role is not Role.SOURCE and not info.extra)
SOURCES = sorted(name for name, info in registry.available().items() if info.role is Role.SOURCE)


def stack_of(name: str):
    step = name + QUICK.get(name, "")
    return check(step if registry.available()[name].role is Role.SCHEME else f"fqvit+{step}")


def apply(stack, model, calibration, bits="w4a8", seed=0):
    for step in stack.steps:
        step.method.apply(model, calibration, Context(Bits.parse(bits), seed))


def bytes_of(model):
    tensors, facts = state_of(model)
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, facts


@pytest.mark.parametrize("name", NAMES)
def test_full_precision_weights_stay_untouched(name, model, calibration):
    images = calibration.images[:4]
    before = model.full_precision(images)
    weights = {site: operation.weight.clone() for site, operation in model.weights.items()}
    apply(stack_of(name), model, calibration)
    assert torch.equal(model.full_precision(images), before)
    assert all(torch.equal(model.weights[site].weight, weight) for site, weight in weights.items())


@pytest.mark.parametrize("name", NAMES)
def test_state_survives_a_safetensors_file(name, model, calibration, tmp_path):
    apply(stack_of(name), model, calibration)
    before, facts = model(calibration.images[:4]), bytes_of(model)
    save_state(model, tmp_path / "state.safetensors")
    assert isinstance(load_file(tmp_path / "state.safetensors"), dict)
    model.clear()
    load_state(model, tmp_path / "state.safetensors")
    assert bytes_of(model) == facts
    assert torch.equal(model(calibration.images[:4]), before)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_gives_the_same_bytes(name, model, calibration):
    apply(stack_of(name), model, calibration, seed=3)
    first = bytes_of(model)
    model.clear()
    apply(stack_of(name), model, calibration, seed=3)
    assert bytes_of(model) == first


@pytest.mark.parametrize("name", NAMES)
def test_32_bits_are_the_identity(name, model, calibration):
    apply(stack_of(name), model, calibration, bits="w32a32")
    logits = model.full_precision(calibration.images)
    assert torch.equal(model(calibration.images), logits)


@pytest.mark.parametrize("name", NAMES)
def test_no_access_to_evaluation_data(name, model, calibration):
    stack = stack_of(name)
    assert stack.protocol == "strict"
    assert not hasattr(calibration, "labels")
    for step in stack.steps:
        context = Context(Bits.parse("w4a8"))
        assert context.evaluate is None
        step.method.apply(model, calibration, context)


def test_methods_that_see_evaluation_data_are_marked():
    stack = check("fqvit+evolq(selection=evaluation)")
    assert stack.protocol == "paper"
    assert stack.steps[1].method.protocol is Protocol.PAPER


@pytest.mark.parametrize("name", NAMES)
def test_weights_take_integer_codes_or_say_so(name, model, calibration):
    apply(stack_of(name), model, calibration)
    off_grid = set(off_grid_sites(model))
    for site, operation in model.weights.items():
        quantizer = model.quantizers.get(site)
        if quantizer is None or site in off_grid:
            continue
        rows = operation.quantized_weight().flatten(1)
        assert max(len(row.unique()) for row in rows) <= 2**quantizer.bits
        codes = rows.double() / quantizer.scale[:, None].double() + quantizer.zero_point[:, None]
        assert (codes - codes.round()).abs().max() < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_logits_stay_finite_and_close(name, model, calibration):
    apply(stack_of(name), model, calibration, bits="w8a8")
    quantized, reference = model(calibration.images), model.full_precision(calibration.images)
    assert torch.isfinite(quantized).all()
    assert (quantized - reference).square().sum() < 0.1 * reference.square().sum()


def generate(name, model, preprocessing, seed=0, count=5):
    source = check_source(name + QUICK_SOURCES.get(name, "")).source
    return source.images(model, count, preprocessing, Context(Bits.parse("w4a8"), seed))


@pytest.mark.parametrize("name", SOURCES)
def test_generated_images_are_what_was_asked_for(name, model, preprocessing):
    images = generate(name, model, preprocessing)
    assert images.shape == (5, *preprocessing.input_size)
    assert images.dtype == torch.float32
    assert not images.requires_grad
    pixels = images * torch.tensor(preprocessing.std).reshape(1, -1, 1, 1)
    pixels = pixels + torch.tensor(preprocessing.mean).reshape(1, -1, 1, 1)
    assert pixels.min() >= -1e-5
    assert pixels.max() <= 1 + 1e-5
    assert images.std() > 0


@pytest.mark.parametrize("name", SOURCES)
def test_generated_images_follow_the_seed_and_leave_the_network_alone(name, model, preprocessing, calibration):
    before, state = model.full_precision(calibration.images), bytes_of(model)
    first = generate(name, model, preprocessing, seed=1)
    assert torch.equal(first, generate(name, model, preprocessing, seed=1))
    assert not torch.equal(first, generate(name, model, preprocessing, seed=2))
    assert torch.equal(model.full_precision(calibration.images), before)
    assert bytes_of(model) == state
