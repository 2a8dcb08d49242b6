"""A network that diverges: the record says where."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from harness.data.sets import TensorEvaluationSet
from harness.errors import DivergedError
from harness.machine.progress import Progress
from harness.method.stack import check
from harness.quant.network.diagnosis import first_not_finite
from harness.quant.network.external import External
from harness.run.evaluate import evaluate


@pytest.fixture
def images(calibration):
    return next(iter(calibration.batches(8)))


@pytest.fixture
def fqvit(model, calibration, context):
    check("fqvit(layernorm_zero=released)").steps[0].method.apply(model, calibration, context("w8a8"))
    return model


def test_finite_values_have_no_place(fqvit, images):
    assert first_not_finite(fqvit, images) == ""


def test_constant_token_before_an_integer_layer_norm(fqvit, images):
    node = list(fqvit.layer_norms)[3]
    before, after = fqvit.layer_norms[node]
    coarse = fqvit.quantizers[before]
    fqvit.quantizers[before] = replace(coarse, scale=coarse.scale * 1e6)
    assert first_not_finite(fqvit, images).startswith(
        f"{after} first, an integer LayerNorm, which as released divides by zero"
    )
    labels = torch.zeros(len(images), dtype=torch.long)
    with pytest.raises(DivergedError, match=f"^logits of 8 images are not finite: {after.split(':')[0]}"):
        evaluate(fqvit, TensorEvaluationSet(images, labels), 8, Progress())
    fqvit.edits.undefined_norms.clear()
    assert first_not_finite(fqvit, images) == ""


def test_other_sites_are_named_without_a_reason(fqvit, images):
    name = next(name for name, operation in fqvit.weights.items() if "blocks.2" in name)
    fqvit.rounded_weights[name] = torch.full_like(fqvit.weights[name].weight, float("nan"))
    place = first_not_finite(fqvit, images)
    assert place.startswith("blocks.2.")
    assert place.endswith(" first")


def test_nothing_is_known_of_another_librarys_network(model, images):
    model.external = External("library", nn.Identity(), {})
    assert first_not_finite(model, images) == ""
