"""Masks of QDrop: the share, independence of neighbours that one drawn number serves, and the ends."""

import pytest
import torch

from harness.quant.network.drop_masks import drawn, on_device


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.75, 0.999, 1.0])
def test_the_share_is_kept_by_every_place_of_a_drawn_number(share):
    mask = drawn(torch.Size([400, 1000]), share, generator())
    assert mask.shape == (400, 1000)
    assert mask.dtype == torch.bool
    deviation = 5 * (share * (1 - share) / 50_000) ** 0.5
    for place in range(8):  # the top bit of a number among them
        assert abs(float(mask.flatten()[place::8].double().mean()) - share) <= deviation + 1e-5


def test_neighbours_are_independent():
    mask = drawn(torch.Size([400_000]), 0.5, generator()).double()
    for distance in (1, 2, 3, 4, 7, 8):
        both = float((mask[distance:] * mask[:-distance]).mean())
        assert abs(both - 0.25) < 0.005


def test_it_is_the_generators_next_numbers():
    first, again = generator(3), generator(3)
    shape = torch.Size([7, 5, 3])  # no whole number of words
    one, other = drawn(shape, 0.5, first), drawn(shape, 0.5, first)
    assert torch.equal(one, drawn(shape, 0.5, again))
    assert not torch.equal(one, other)
    assert on_device(first, torch.device("cpu")) is first
