"""Bit-widths, stacks, settings: parsing, checking, canonical form."""

import functools
import importlib.util
from importlib.metadata import Distribution, EntryPoint
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StackError, UsageError
from harness.method import registry, stack
from harness.method.registration import Role
from harness.method.settings import settings_of
from harness.trial.bits import Bits
from harness.trial.identity import content_id


@given(
    st.sampled_from([2, 3, 4, 5, 6, 7, 8, 32]),
    st.sampled_from([2, 3, 4, 5, 6, 7, 8, 32]),
    st.sampled_from([None, 2, 4, 6, 8, 32]),
)
def test_bits_round_trip(weight, activation, attention):
    bits = Bits(weight, activation, attention)
    assert Bits.parse(str(bits)) == bits
    assert bits.softmax == (activation if attention is None else attention)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w4", "Did you mean"),
        ("a8w4", "expected w<weights>a<activations>"),
        ("w4a8x", "Did you mean w4a8"),
        ("w9a8", "weight bits 9 are not possible: expected 2 to 8"),
        ("w1a8", "weight bits 1"),
        ("w4a1", "activation bits 1"),
        ("w4a8s1", "attention bits 1"),
        ("", "not understood"),
    ],
)
def test_wrong_bits_are_explained(text, message):
    with pytest.raises(UsageError, match=message):
        Bits.parse(text)


def problems(text):
    with pytest.raises(StackError) as caught:
        stack.check(text)
    assert all(problem.fix for problem in caught.value.problems)
    return [problem.text for problem in caught.value.problems]


def test_unknown_name_has_nearest_matches():
    (text,) = problems("fqvit+evol")
    assert "unknown method 'evol'" in text
    assert "Did you mean evolq" in text


def test_two_schemes():
    (text,) = problems("fqvit+minmax")
    assert "two schemes: fqvit and minmax" in text


@pytest.mark.parametrize("name", ["biascorr", "evolq", "omse", "gradopt"])
def test_a_method_before_any_scheme(name):
    (text,) = problems(name)
    assert text.startswith(f"{name} needs")


def test_evolq_without_scales():
    assert "evolq needs scales, which fp32 does not provide" in problems("fp32+evolq")[0]


def test_all_problems_at_once():
    found = problems("biascorr+fqvit(pft=true,batch=0)+minmax+evolk(passes=1)")
    assert len(found) == 6
    assert any("no setting 'pft'. Did you mean ptf?" in text for text in found)
    assert any("batch=0" in text for text in found)


def test_a_wrong_value_names_the_choices():
    (text,) = problems("fqvit+evolq(loss=infonse)")
    assert "loss=infonse" in text
    assert "Did you mean infonce" in text


@pytest.mark.parametrize("value", ["0", "many"])
def test_a_wrong_number_names_type_and_bounds(value):
    with pytest.raises(StackError) as caught:
        stack.check(f"fqvit+gradopt(steps={value})+smoothquant(alpha={value}9)")
    assert [problem.fix for problem in caught.value.problems] == ["expected int, at least 1", "expected float, 0 to 1"]


@pytest.mark.parametrize("text", ["", "fqvit++omse", "fqvit+", "fqvit(", "fqvit)", "fqvit(ptf)", "fqvit((ptf=true))", "a b"])
def test_grammar_errors_quote_the_place(text):
    with pytest.raises(UsageError, match="expected"):
        stack.parse(text)


def test_setting_twice():
    with pytest.raises(UsageError, match="given twice"):
        stack.parse("fqvit(ptf=true,ptf=false)")


def test_canonical_text_shows_only_what_differs():
    checked = stack.check(" fqvit( batch = 16 , ptf=true ) + omse ")
    assert str(checked) == "fqvit(batch=16)+omse"
    assert stack.check(str(checked)).identity() == checked.identity()


def test_presets_fill_what_is_not_given():
    config = stack.check("fqvit+evolq(preset=release,passes=2,order=forward)").steps[1].method.config
    assert (config.order, config.passes, config.target, config.clip) == ("forward", 2, "release", "abs")
    paper = stack.check("fqvit+evolq(preset=paper)").steps[1].method.config
    assert (paper.scope, paper.formula, paper.mutation, paper.selection) == ("block", "release", "release", "fitness")


def test_a_setting_that_joined_later_leaves_ids_alone():
    """``levit`` joined ``fqvit`` without changing a result: records from before stay findable."""
    (before,) = stack.check("fqvit").identity()
    assert "levit" not in before["config"]
    assert "batch" in before["config"]
    assert stack.check("fqvit(levit=rule)").identity() == [before]
    (released,) = stack.check("fqvit(levit=release)").identity()
    assert released["config"] == {**before["config"], "levit": "release"}


def _variants():
    """Every setting of every method at its default and its choices, under every preset."""
    for name, info in registry.available().items():
        if info.role is Role.SOURCE or (info.extra and not importlib.util.find_spec(info.extra)):
            continue
        config = registry.load(name).Config
        for preset in (None, *getattr(config, "PRESETS", {})):
            for setting in settings_of(config):
                for value in setting.choices or (stack.plain(setting.default),):
                    chosen = [f"preset={preset}"] if preset and setting.name != "preset" else []
                    first = info.leads or info.role in (Role.SCHEME, Role.ALLOCATE)
                    prefix, scheme = "" if first else "fqvit+", "+fqvit" if info.role is Role.ALLOCATE else ""
                    if setting.default is not None:
                        yield f"{prefix}{name}({','.join([*chosen, f'{setting.name}={value}'])}){scheme}"


class _Read(NamedTuple):
    name: str
    entry_points: tuple[EntryPoint, ...]


def _read(one: Distribution) -> _Read:
    return _Read("", tuple(one.entry_points))


_distributions = functools.cache(lambda: tuple(_read(one) for one in registry.distributions()))


@pytest.fixture
def installed_packages_stay(monkeypatch):
    """Reading the entry points of all packages takes nearly all the time of a check, and is done several times in each."""
    monkeypatch.setattr(registry, "distributions", _distributions)


@pytest.mark.parametrize("text", list(_variants()))
@pytest.mark.usefixtures("installed_packages_stay")
def test_canonical_text_reads_back_as_the_same_stack(text):
    checked = stack.check(text)
    again = stack.check(str(checked))
    assert (again.identity(), again.protocol, str(again)) == (checked.identity(), checked.protocol, str(checked))


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999"])
def test_settings_are_finite(value):
    (text,) = problems(f"fqvit+evolq(temperature={value})")
    assert "is not valid" in text


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.from_regex(r"[a-z0-9._-]{1,8}", fullmatch=True)


@given(st.lists(st.tuples(NAMES, st.dictionaries(NAMES, VALUES, max_size=3)), min_size=1, max_size=4))
def test_parser_round_trip(steps):
    text = "+".join(name + (f"({','.join(f'{k}={v}' for k, v in given.items())})" if given else "") for name, given in steps)
    assert [(step.name, step.given) for step in stack.parse(text)] == steps


@given(st.text(alphabet="fqvit+()=,. 12", max_size=25))
def test_parser_never_fails_in_another_way(text):
    try:
        stack.parse(text)
    except UsageError:
        return
    assert text.strip()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4))
def test_ids_do_not_depend_on_the_order_of_keys(payload):
    assert content_id(payload) == content_id(dict(reversed(payload.items())))
    assert len(content_id(payload)) == 16


def test_ids_refuse_nan_and_tell_payloads_apart():
    with pytest.raises(ValueError, match="JSON"):
        content_id({"a": float("nan")})
    assert content_id({"a": 1}) != content_id({"a": 2})
