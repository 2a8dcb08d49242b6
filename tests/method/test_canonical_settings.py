"""Settings that mean the same have one form, hence one id; those of earlier trials stay."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest

from harness.method import registry
from harness.method.settings import build, canonical, changed
from harness.method.stack import check
from harness.trial.identity import content_id


def identity(text):
    return content_id({"stack": check(text).identity()})


def test_minus_zero_is_zero():
    assert identity("minmax+qwt(ridge=-0.0)") == identity("minmax+qwt(ridge=0.0)")
    assert str(check("minmax+qwt(ridge=-0.0)")) == str(check("minmax+qwt(ridge=0.0)"))


@pytest.mark.parametrize("preset", ["paper", "release"])
def test_a_preset_and_its_values_are_the_same(preset):
    values = registry.load("evolq").Config.PRESETS[preset]
    written = ",".join(f"{name}={str(value).lower()}" for name, value in values.items())
    named, spelled = check(f"fqvit+evolq(preset={preset},passes=3)"), check(f"fqvit+evolq({written},passes=3)")
    assert named.identity() == spelled.identity()
    assert str(named) == str(spelled) == f"fqvit+evolq(preset={preset},passes=3)"
    assert identity(str(named)) == identity(f"fqvit+evolq({written},passes=3)")


def test_a_preset_of_which_a_value_was_changed_is_its_values():
    values = registry.load("evolq").Config.PRESETS["paper"] | {"scope": "block_weights"}
    written = ",".join(f"{name}={str(value).lower()}" for name, value in values.items())
    changed = check("fqvit+evolq(preset=paper,scope=block_weights)")
    assert changed.identity() == check(f"fqvit+evolq({written})").identity()
    assert check(str(changed)).identity() == changed.identity(), "what is written is read back"


def test_defaults_and_presets_keep_their_form():
    for name, info in registry.available().items():
        if info.extra:  # its library may be missing
            continue
        config = registry.load(name).Config
        assert canonical(config()) == config(), name
        for preset in getattr(config, "PRESETS", {}):
            built, problems = build(config, {"preset": preset}, info.name)
            assert not problems
            assert built.preset == preset


@dataclass(frozen=True)
class Levels:
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "published": {"steps": 20},
        "short": {"steps": 5, "rate": 0.5},
        "joint": {"steps": 5, "rate": 0.5, "both": True},
    }
    preset: Literal["published", "short", "joint"] = "published"
    steps: int = 20
    rate: float = 0.1
    both: bool = False


@pytest.mark.parametrize(
    ("given", "preset"),
    [
        ({}, "published"),
        ({"steps": 7}, "published"),
        ({"steps": 5}, "published"),
        ({"steps": 5, "rate": 0.5}, "short"),
        ({"steps": 5, "rate": 0.5, "both": True}, "joint"),
        ({"preset": "short", "both": True}, "joint"),
        ({"preset": "joint", "both": False}, "short"),
        ({"preset": "joint", "steps": 3}, "joint"),
        ({"steps": 3, "rate": 0.5, "both": True}, "joint"),
        ({"preset": "joint", "steps": 20, "rate": 0.1}, "published"),
    ],
)
def test_the_values_decide_on_the_preset(given, preset):
    built, _ = build(Levels, given, "levels")
    assert built.preset == preset
    assert build(Levels, changed(built), "levels")[0] == built, "what is written is read back"
