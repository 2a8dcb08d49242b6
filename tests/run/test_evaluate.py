"""Counts of the evaluator against a direct computation."""

import numpy as np
import pytest
import torch

from harness.data.sets import TensorEvaluationSet
from harness.errors import DivergedError
from harness.machine.progress import Progress
from harness.run.evaluate import evaluate, top1


class Fake:
    """Logits are the images themselves; the quantized ones are rounded."""

    device = torch.device("cpu")

    def __call__(self, images):
        return images.flatten(1).round()

    def full_precision(self, images):
        return images.flatten(1)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(37, 1, 3, 4, generator=generator) * 2
    return images, torch.randint(12, (37,), generator=generator)


def test_counts(data):
    images, labels = data
    result = evaluate(Fake(), TensorEvaluationSet(*data), 10, Progress())
    full, coded = images.flatten(1).numpy(), images.flatten(1).round().numpy()
    metrics = result.metrics()
    assert metrics["n_images"] == 37
    assert metrics["n_correct"] == int((coded.argmax(1) == labels.numpy()).sum())
    assert metrics["n_correct_fp32"] == int((full.argmax(1) == labels.numpy()).sum())
    assert metrics["agreement"] == pytest.approx(100 * (coded.argmax(1) == full.argmax(1)).mean())
    order = np.argsort(-full, axis=1)[:, :5]
    assert metrics["n_correct_top5_fp32"] == int((order == labels.numpy()[:, None]).any(1).sum())
    expected = 10 * np.log10((full.astype(float) ** 2).sum() / ((full - coded).astype(float) ** 2).sum())
    assert metrics["logit_sqnr_db"] == pytest.approx(expected, rel=1e-5)
    assert result.bitmap().shape == (2, 37)
    assert result.bitmap()[0].sum() == metrics["n_correct"]
    assert top1(Fake(), TensorEvaluationSet(*data), 8) == pytest.approx(metrics["top1"])


def test_logits_that_are_not_finite(data):
    images, labels = data
    images[3] = float("nan")
    with pytest.raises(DivergedError, match="not finite"):
        evaluate(Fake(), TensorEvaluationSet(images, labels), 10, Progress())
