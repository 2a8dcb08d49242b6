"""What the peers must show on ``deit_tiny`` and photographs, where little networks let too much pass."""

import pytest
import torch

from harness.data.preprocessing import of_model
from harness.data.sources import open_source
from harness.method.base import Context
from harness.method.stack import check
from harness.models.loading import load_model
from harness.quant.network.qmodel import quantizable
from harness.quant.network.state import restore, state_of
from harness.trial.bits import Bits
from tests.lanes import NIGHTLY, nightly
from tests.shared import DEIT, IMAGES, requires_images

pytestmark = requires_images


CALIBRATION_IMAGES = 32 if NIGHTLY else 16


class Network:
    """``deit_tiny`` with few calibration images; photographs that no method sees tell how far it is from itself."""

    def __init__(self):
        loaded = load_model("deit_tiny_patch16_224.fb_in1k", DEIT)
        preprocessing = of_model(loaded.network, {})
        source = open_source(str(IMAGES))
        self.model = quantizable(loaded.network, preprocessing.input_size, loaded.name)
        self.calibration = source.calibration(CALIBRATION_IMAGES, 0, preprocessing)
        self.photographs, _ = next(iter(source.evaluation(64, preprocessing).batches(64)))
        self.target = self.model.full_precision(self.photographs)
        self._schemes, self._apart = {}, {}

    def apart(self, stack, bits):
        """Relative squared error of the logits, and the share of predictions that stay; both are computed once."""
        if (stack, bits) not in self._apart:
            self._apart[stack, bits] = self._compared(stack, bits)
        return self._apart[stack, bits]

    def _compared(self, stack, bits):
        scheme, *rest = check(stack).steps
        key = (str(scheme.info.name), bits)
        self.model.clear()
        if key in self._schemes:
            restore(self.model, *self._schemes[key])
        else:
            scheme.method.apply(self.model, self.calibration, Context(Bits.parse(bits)))
            self._schemes[key] = state_of(self.model)
        for step in rest:
            step.method.apply(self.model, self.calibration, Context(Bits.parse(bits)))
        logits = self.model(self.photographs)
        error = (logits - self.target).square().sum() / self.target.square().sum()
        return float(error), float((logits.argmax(1) == self.target.argmax(1)).float().mean())


@pytest.fixture(scope="module")
def network():
    return Network()


def test_at_w4a4_min_max_collapses_and_repqvit_does_not(network):
    error, agreement = network.apart("minmax", "w4a4")
    assert agreement < 0.1
    theirs, kept = network.apart("repqvit", "w4a4")
    assert theirs < 0.5 * error
    assert kept > 0.5


@pytest.mark.parametrize(
    "step",
    [
        "gptq",
        *(pytest.param(step, marks=nightly) for step in ("qwt", "brecq(preset=joint,iterations=15,batch=8)")),
        *(pytest.param(step, marks=nightly) for step in ("erq", "erq(preset=exact)", "qwt(preset=chain)")),
    ],
)
def test_at_w4a4_what_is_built_on_repqvit_comes_closer(network, step):
    assert network.apart(f"repqvit+{step}", "w4a4")[0] < network.apart("repqvit", "w4a4")[0]


@pytest.mark.parametrize("step", ["qwt", *(pytest.param(step, marks=nightly) for step in ("erq", "qwt(preset=chain)"))])
def test_at_w8a8_fitting_does_not_learn_the_calibration_images(network, step):
    """Both once made eight bits worse than nothing: exact on 32 images, five points lost on photographs."""
    error, agreement = network.apart(f"repqvit+{step}", "w8a8")
    assert agreement > 0.95
    assert error < 1.5 * network.apart("repqvit", "w8a8")[0]


def test_logits_are_compared_with_full_precision(network):
    error, agreement = network.apart("fp32", "w32a32")
    assert torch.isfinite(network.target).all()
    assert (error, agreement) == (0.0, 1.0)
