"""PSAQ-ViT: the parts of its loss against their definitions, and that learning lowers it."""

import math

import pytest
import torch
from timm import create_model

from harness.baselines.engines.synthesis import differential_entropy, patch_similarity, total_variation
from harness.data.preprocessing import of_model
from harness.errors import CaptureError
from harness.method.calibration_source import check_source
from harness.quant.network.qmodel import quantizable


def test_patch_similarity_leaves_class_tokens_out():
    output = torch.randn(2, 3, 17, 8)
    got = patch_similarity(output)
    assert got.shape == (2, 16, 16)
    tokens = output.mean(dim=1)
    expected = torch.cosine_similarity(tokens[0, 1], tokens[0, 5], dim=0)
    assert torch.allclose(got[0, 0, 4], expected, atol=1e-6)
    assert patch_similarity(torch.randn(2, 3, 18, 8)).shape == (2, 16, 16), "class and distillation token"
    assert patch_similarity(torch.randn(2, 3, 49, 8)).shape == (2, 49, 49), "windows have none"


def test_entropy_against_the_sums_written_out():
    values = torch.rand(3, 40)
    places = torch.linspace(float(values.min()), float(values.max()), 10).tolist()
    total = 0.0
    for row in values.tolist():
        density = []
        for place in places:
            kernel = [math.exp(-((place - v) ** 2) / (2 * 0.05**2)) / (0.05 * math.sqrt(2 * math.pi)) for v in row]
            density.append(sum(kernel) / len(row) + 1e-4)
        parts = [-p * math.log(p) for p in density]
        steps = zip(parts, parts[1:], places, places[1:], strict=False)
        total += sum((a + b) / 2 * (y - x) for a, b, x, y in steps)
    assert float(differential_entropy(values, 10, 0.05)) == pytest.approx(total / 3, rel=1e-4)


def test_entropy_is_larger_for_more_diverse_similarities():
    spread, peaked = torch.rand(2, 400), torch.rand(2, 400) ** 8
    assert differential_entropy(spread, 10, 0.05) > differential_entropy(peaked, 10, 0.05)


def test_total_variation_of_a_step():
    image = torch.zeros(1, 1, 4, 4)
    image[..., 2:] = 1
    # One step in each of four rows to the right, none down, three along each diagonal.
    assert float(total_variation(image)) == pytest.approx(2 + 0 + 2 * math.sqrt(3))


def test_learning_lowers_the_loss(model, preprocessing, context):
    made = context()
    check_source("psaq(iterations=25,batch=4)").source.images(model, 4, preprocessing, made)
    (first, *_, last) = made.notes["losses"][0]
    assert sum(last.values()) < 0.7 * sum(first.values())
    assert last["one_hot"] < first["one_hot"]


def test_a_network_without_attention_is_refused(preprocessing, context):
    plain = create_model("resnet10t", num_classes=5).eval()
    model = quantizable(plain, of_model(plain, {}).input_size, "resnet10t")
    with pytest.raises(CaptureError, match="psaq needs attention, resnet10t has none"):
        check_source("psaq").source.images(model, 2, preprocessing, context())
