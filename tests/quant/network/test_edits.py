"""What methods changed is one value: every kind of it is moved, cleared, saved and restored, a new kind too."""

from dataclasses import dataclass, field, fields

import pytest
import torch

from harness.quant.format.affine import AffineSpec
from harness.quant.format.uniform import from_range
from harness.quant.network.edits import KIND, Edits, Formats, Names, Numbers, Pairs, Tensors
from harness.quant.network.state import restore, state_of

CPU = torch.device("cpu")


@dataclass
class More(Edits):
    """An eighth kind of edit: this field is all it takes."""

    masks: dict[str, torch.Tensor] = field(default_factory=dict, metadata={KIND: Tensors("mask")})


def filled(edits):
    """One entry in every field."""
    samples = {
        Tensors: {"blocks.0:linear": torch.rand(3)},
        Pairs: {"a": (torch.rand(2), torch.rand(2)), "b": (torch.rand(1), torch.rand(1))},
        Formats: {"blocks.0:linear[x]": from_range(AffineSpec(4), -torch.rand(1), torch.rand(1))},
        Names: {"one", "two"},
        Numbers: {"blocks.0.norm1": 3},
    }
    for one in fields(edits):
        getattr(edits, one.name).update(samples[type(one.metadata[KIND])])
    return edits


def tensors_of(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, int):
        return []
    return list(value.state()[0].values())


@pytest.mark.parametrize("cls", [Edits, More])
def test_every_field_is_saved_and_restored(cls):
    edits = filled(cls())
    tensors, facts = edits.state()
    again = filled(cls())
    again.restore({name: tensor.clone() for name, tensor in tensors.items()}, facts, CPU)
    got, same = again.state()
    assert same == facts
    assert set(got) == set(tensors)
    assert all(torch.equal(got[name], tensor) for name, tensor in tensors.items())
    for one in fields(edits):
        assert set(getattr(again, one.name)) == set(getattr(edits, one.name)), one.name
        assert type(getattr(again, one.name)) is type(getattr(edits, one.name))


@pytest.mark.parametrize("cls", [Edits, More])
def test_every_field_is_cleared_in_place(cls):
    edits = filled(cls())
    before = {one.name: getattr(edits, one.name) for one in fields(edits)}
    assert all(before.values())
    edits.clear()
    assert not any(before.values()), "whoever holds a dictionary sees it empty"
    assert edits.state() == cls().state()


@pytest.mark.parametrize("cls", [Edits, More])
def test_every_field_moves(cls):
    edits = filled(cls())
    edits.to(torch.device("meta"))
    for one in fields(edits):
        held = getattr(edits, one.name)
        assert held
        for value in held.values() if isinstance(held, dict) else ():
            assert all(tensor.is_meta for tensor in tensors_of(value)), one.name


def test_keys_of_kinds_differ():
    keys = [one.metadata[KIND].key for one in fields(More)]
    assert len(set(keys)) == len(keys)


def test_a_state_with_a_kind_that_is_not_known_is_refused():
    tensors, facts = filled(More()).state()
    with pytest.raises(KeyError, match=r"mask/blocks\.0:linear"):
        Edits().restore(tensors, facts, CPU)


def test_a_state_without_a_kind_leaves_it_empty():
    old = filled(Edits()).state()
    more = More()
    more.restore(*old, CPU)
    assert not more.masks
    assert more.bias_shifts


def test_the_model_shows_its_edits(model):
    for one in fields(Edits):
        assert getattr(model, one.name) is getattr(model.edits, one.name)
    site = next(iter(model.sites))
    model.quantizers[site] = from_range(AffineSpec(8), torch.zeros(1), torch.ones(1))
    tensors, facts = state_of(model)
    model.clear()
    assert not model.quantizers
    restore(model, tensors, facts)
    assert list(model.quantizers) == [site]
    with pytest.raises(KeyError, match="has no site nowhere"):
        restore(model, tensors, {**facts, "quantizers": {"nowhere": facts["quantizers"][site]}})
