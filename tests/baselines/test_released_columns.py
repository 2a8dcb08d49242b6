"""Roundings that the released codes of GPTAQ and COMQ gave on a small problem (``docs/conformance.md``), against ours."""

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.baselines.comq import minimise_codes
from harness.baselines.engines.column_rounding import Asymmetry, cross_gram, gram, round_columns
from harness.quant.format.affine import AffineSpec
from harness.quant.format.uniform import from_range


@pytest.fixture(scope="module")
def released():
    with np.load(Path(__file__).with_name("data") / "columns.npz") as file:
        data = {key: torch.from_numpy(file[key]).float() for key in file.files}
    weight = data["weight"]
    quantizer = from_range(AffineSpec(4, axis=0), weight.amin(1), weight.amax(1))
    assert torch.allclose(quantizer.scale, data["scale"])
    return data, quantizer


def share_equal(ours, theirs, quantizer):
    """Share of equal codes; theirs are stored as multiples of the scale."""
    return float(((ours / quantizer.scale[:, None] - theirs).abs() < 1e-3).float().mean())


@pytest.mark.parametrize("order", [False, True])
def test_gptaq_rounds_as_the_released_vit_script(released, order):
    data, quantizer = released
    hessian, cross = (2 * one for one in cross_gram(160, [(data["quantized"], data["full"])]))
    asymmetry = Asymmetry(cross, strength=0.25, block=128)
    ours = round_columns(data["weight"], quantizer, hessian, damping=0.1, order=order, asymmetry=asymmetry)
    assert share_equal(ours, data[f"gptaq_{int(order)}"], quantizer) > 0.99
    plain = round_columns(data["weight"], quantizer, hessian, damping=0.1, order=order)
    assert share_equal(plain, data[f"gptaq_{int(order)}"], quantizer) < 0.97


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("rounds", [1, 3])
def test_comq_rounds_as_the_released_code(released, greedy, rounds):
    data, quantizer = released
    ours = minimise_codes(data["weight"], quantizer, gram(160, [data["full"]]), rounds=rounds, greedy=greedy)
    assert share_equal(ours, data[f"comq_{int(greedy)}_{rounds}"], quantizer) > 0.99
