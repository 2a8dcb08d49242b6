"""Methods on a network without a classifier: what they measure of logits they measure of features. All of them nightly."""

import pytest
import timm
import torch

from harness.data.sets import CalibrationSet
from harness.errors import IncompatibleError
from harness.method import registry
from harness.method.registration import Role
from harness.quant.network.qmodel import quantizable
from harness.run.features import FeatureEvaluation
from harness.testing.applying import apply, stack_of
from tests.lanes import sparing

METHODS = sorted(name for name, info in registry.available().items() if info.role is not Role.SOURCE and not info.extra)
# One of each kind, and what would ask the classifier for a divergence; the others share their engines.
USUAL = ("allocate", "fqvit", "repqvit", "rotate", "omse", "biascorr", "gptq", "evolq", "qdrop", "fimaq")
SIZE = (3, 32, 32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    vit = timm.create_model("test_vit", num_classes=0, img_size=SIZE[1], global_pool="avg").eval()
    for parameter in vit.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return quantizable(vit, SIZE, "test_vit.headless")


@pytest.fixture(scope="module")
def images():
    return torch.randn(8, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", sparing(METHODS, USUAL))
def test_features_stay_near_those_of_full_precision(method, network, images):
    network.clear()
    steps = stack_of(method, "fqvit").steps
    if method == "rotate":  # the last norm cannot be turned without a weight behind it
        with pytest.raises(IncompatibleError, match="no residual stream"):
            apply(steps, network, CalibrationSet(images), "w8a8")
        return
    apply(steps, network, CalibrationSet(images), "w8a8")
    found = FeatureEvaluation()
    with torch.inference_mode():
        found.add(network(images), network.full_precision(images), torch.zeros(len(images)))
    assert found.metrics()["feature_cosine"] > 0.7
