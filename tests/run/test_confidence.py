"""What an evaluation says beyond top-1, against direct computations."""

import numpy as np
import pytest
import torch

from harness.data.sets import TensorEvaluationSet
from harness.machine.progress import Progress
from harness.run.confidence import BINS, Confidence
from harness.run.evaluate import Evaluation, evaluate
from tests.run.test_evaluate import Fake, data  # noqa: F401


def direct(logits, labels):
    """NLL and ECE as their papers write them, one image and one bin after the other."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    nll = -np.log(p[np.arange(len(labels)), labels]).mean()
    confidence, right = p.max(1), p.argmax(1) == labels
    ece = 0.0
    for m in range(BINS):
        inside = (confidence > m / BINS) & (confidence <= (m + 1) / BINS)
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return nll, 100 * ece


def test_likelihood_and_calibration_in_both_precisions(data):  # noqa: F811
    images, labels = data
    result = evaluate(Fake(), TensorEvaluationSet(*data), 10, Progress())
    metrics = result.metrics()
    full = images.flatten(1).double().numpy()
    assert (metrics["nll_fp32"], metrics["ece_fp32"]) == pytest.approx(direct(full, labels.numpy()))
    assert (metrics["nll"], metrics["ece"]) == pytest.approx(direct(full.round(), labels.numpy()))


def test_classes_count_what_was_lost_and_gained(data):  # noqa: F811
    labels = data[1]
    result = evaluate(Fake(), TensorEvaluationSet(*data), 10, Progress())
    counts, (quantized, full) = result.classes(), result.bitmap()
    for place, index in enumerate(counts["index"]):
        own = labels.numpy() == index
        assert counts["images"][place] == own.sum() > 0
        assert counts["right_fp32"][place] == full[own].sum()
        assert counts["lost"][place] == (full & ~quantized)[own].sum()
        assert counts["gained"][place] == (quantized & ~full)[own].sum()
    assert sum(counts["images"]) == 37


def test_a_network_that_is_sure_and_always_wrong_has_an_error_of_100():
    found = Confidence()
    found.add(torch.tensor([[1000.0, 0.0]] * 3), torch.tensor([1, 1, 1]))
    assert found.expected_error == 100
    assert found.mean_nll == pytest.approx(1000)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_doubt_has_the_bytes_of_all_probabilities_and_asks_for_few(classes, monkeypatch):
    """The expected drop of records is made of these bytes."""
    full = torch.randn(200, classes).mul(3)
    quantized = full.add(torch.randn(200, classes)).round(decimals=1)
    full[:5] = full[:5].round()  # ties
    likely = full.double().softmax(1)
    expected = likely.max(1).values - likely.gather(1, quantized.argmax(1, keepdim=True)).squeeze(1)
    asked, softmax = [], torch.Tensor.softmax
    monkeypatch.setattr(torch.Tensor, "softmax", lambda x, *axes: (asked.append(len(x)), softmax(x, *axes))[1])
    result = Evaluation()
    result.add(quantized, full, torch.zeros(200, dtype=torch.long))
    assert result.doubt[0].dtype == np.float64
    assert result.doubt[0].tobytes() == expected.numpy().tobytes()
    assert asked == [200 - result.n_agree]


@pytest.mark.parametrize("count", [30, 1000])
def test_images_without_a_disagreement_rule_none_out(count):
    """About the rule of three: none seen in n images leaves 3 / n possible."""
    result, logits = Evaluation(), torch.randn(count, 10)
    result.add(logits, logits, torch.zeros(count, dtype=torch.long))
    found = result.expected_drop()
    assert found["value"] == found["low"] == 0
    assert 200 / count < found["high"] < 400 / count
