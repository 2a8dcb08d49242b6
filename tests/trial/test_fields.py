"""The fields of a trial are declared once; flags, grids, ids, records and tables follow."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.sweep.launch import snapshot
from harness.trial.fields import IdRule, Part, fields_of
from harness.trial.spec import TrialSpec, execution_fields, identity_fields, repeating


def test_the_arithmetic_of_earlier_records_stays_out_of_ids_whatever_the_default_is():
    """All records before the field were measured in floating point; their ids must stay those of ``float``."""
    plain, exact = TrialSpec("fqvit", arithmetic="float"), TrialSpec("fqvit", arithmetic="integer")
    assert plain.identity() == {"calib": 256, "seed": 0, "eval_limit": None}
    assert exact.identity() == {**plain.identity(), "arithmetic": "integer"}
    assert "arithmetic" in identity_fields(Part.STACK), "states of prefixes are shared among trials of one arithmetic"
    written = plain.as_dict()
    del written["arithmetic"]  # a record or a sweep from before
    assert TrialSpec.from_dict(written).arithmetic == "float"
    assert TrialSpec.from_command("harness run --method fqvit --bits w8a8").arithmetic == "float"
    assert repeating("harness run --method fqvit --seed 0") == "harness run --method fqvit --seed 0 --arithmetic float"
    assert (repeating(""), repeating("make x")) == ("", "make x")
    for spec in (plain, exact):
        assert repeating(spec.command("fqvit")) == spec.command("fqvit")
        assert TrialSpec.from_command(spec.command("fqvit")).arithmetic == spec.arithmetic


WORDS = st.text(alphabet="abcXYZ059._-/ '\"=,()", min_size=1, max_size=12)
SPECS = st.builds(
    TrialSpec,
    method=WORDS,
    model=WORDS,
    weights=st.none() | WORDS.map(lambda text: Path("/weights") / text.strip("/ .") / "x"),
    data=st.just("embedded") | WORDS.map(lambda text: f"/data/x{text.strip('/ .')}"),
    calib=st.integers(0, 2**40),
    calib_source=WORDS,
    seed=st.integers(0, 2**63 - 1),
    eval_limit=st.none() | st.integers(1, 2**40),
    preprocess=st.fixed_dictionaries(
        {}, optional={"crop_pct": st.floats(0.01, 1).map(str), "recipe": st.sampled_from(["timm", "paper"])}
    ),
    allow_overlap=st.booleans(),
    float_layernorm=st.booleans(),
    arithmetic=st.sampled_from(["integer", "float"]),
)


@settings(max_examples=60, deadline=None)
@given(SPECS)
def test_a_trial_survives_json_and_its_own_command(spec):
    assert TrialSpec.from_dict(json.loads(json.dumps(spec.as_dict()))) == TrialSpec.from_dict(spec.as_dict())
    assert TrialSpec.from_command(spec.command(spec.method)).as_dict() == spec.as_dict()


def test_every_field_is_documented_and_belongs_to_one_part():
    for one in fields_of(TrialSpec):
        assert one.about.help
        assert one.about.metavar or one.kind is bool
        assert one.required == (one.name == "method")
    cache = {"cache_dir", "cache_size", "no_cache"}
    assert {one.name for one in execution_fields()} == {"batch", "device", "memory", "noise_floor", *cache}


def test_the_fields_that_enter_ids_as_they_are():
    """A field that is added later must be declared ``changed``: these three are in the ids of all earlier records."""
    always = {one.name for one in fields_of(TrialSpec) if one.about.identity is IdRule.ALWAYS}
    assert always == {"calib", "seed", "eval_limit"}
    assert TrialSpec("fqvit", arithmetic="float").identity() == {"calib": 256, "seed": 0, "eval_limit": None}
    assert TrialSpec("fqvit", float_layernorm=True).identity()["float_layernorm"] is True
    assert set(identity_fields(Part.CALIBRATION)) == {"calib", "seed"}
    differs = {one.name: one.about.earlier for one in fields_of(TrialSpec) if one.about.identity is IdRule.DIFFERS}
    assert differs == {"arithmetic": "float"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seed": -1}, "seed -1 is not possible: expected 0 or more"),
        ({"seed": 2**63}, "expected at most 2^63 - 1"),
        ({"eval_limit": 0}, "eval limit 0 is not possible: expected at least 1"),
        ({"batch": 0}, "batch 0 is not possible"),
        ({"arithmetic": "intger"}, "arithmetic 'intger' is not possible: expected integer or float. Did you mean integer?"),
        ({"calib": "4"}, "calib '4' is not possible: expected a whole number"),
        ({"seed": True}, "expected a whole number"),
        ({"memory": "much"}, "memory 'much' not understood"),
        ({"cache_size": "much"}, "cache size 'much' not understood"),
    ],
)
def test_values_out_of_range_are_refused(wrong, said):
    with pytest.raises(UsageError) as caught:
        TrialSpec("fqvit", **wrong)
    assert said in str(caught.value)


@pytest.mark.parametrize("command", ["", "harness run --method", "harness run --nothing 3", "harness run --method 'x"])
def test_a_text_that_repeats_no_trial_is_refused(command):
    with pytest.raises((UsageError, TypeError)):
        TrialSpec.from_command(command)


FIELD = """    temperature: int = field(
        default=1, metadata=about("a field of this test", "n", Part.CALIBRATION, at_least=1, column="Int64")
    )
"""
DRIVER = """
import contextlib, io, json, sys
from harness.cli.main import main

def call(*words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            code = main([*words])
        except SystemExit as stop:
            code = stop.code
    assert not code, (words, code, out.getvalue())
    return out.getvalue()

TRIAL = ["--method", "fp32", "--calib", "4", "--eval-limit", "8", "--device", "cpu", "--quiet"]
found = {"help": call("run", "--help"), "grid help": call("plan", "--help")}
for name, more in [("plain", []), ("changed", ["--temperature", "2"])]:
    found[name] = json.loads(call("run", *TRIAL, *more, "--json", "--store", "runs"))
found["again"] = json.loads(call("run", "--trial", found["changed"]["id"], "--json", "--quiet", "--store", "runs"))
found["plan"] = json.loads(call("plan", *TRIAL[:6], "temperature=1,2", "--json", "--quiet", "--store", "runs"))
call("store", "export", "--format", "csv", "--out", "rows.csv", "--store", "runs")
sys.stdout.write(json.dumps(found))
"""


@pytest.mark.slow
def test_a_new_field_touches_one_file(tmp_path):
    """In a copy of the package, one declaration is added to trial/spec.py. All the rest must follow from it."""
    code = snapshot.take(tmp_path / "code")
    declarations = code / "harness" / "trial" / "spec.py"
    text = declarations.read_text()
    assert text.count("    batch: int = field(") == 1
    declarations.write_text(text.replace("    batch: int = field(", FIELD + "    batch: int = field("))
    variables = {**os.environ, "PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}
    run = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert "--temperature <n>" in found["help"]
    assert "--temperature <n,...>" in found["grid help"]
    plain, changed = found["plain"], found["changed"]
    assert "temperature" not in plain["spec"], "ids of earlier trials must stay"
    assert changed["spec"]["temperature"] == 2
    assert changed["id"] != plain["id"]
    assert changed["asked"]["temperature"] == 2
    assert "--temperature 2" in changed["command"]
    assert found["again"]["id"] == changed["id"]
    assert sorted(trial["state"] for trial in found["plan"]["trials"]) == ["done", "done"]
    with (tmp_path / "rows.csv").open(newline="") as file:
        assert sorted(row["temperature"] for row in csv.DictReader(file)) == ["1", "2"]


def test_the_home_of_an_unknown_user_is_refused():
    for field in ("data", "weights"):
        with pytest.raises(UsageError, match="there is no such user"):
            TrialSpec("fqvit", **{field: Path("~no-user-of-this-name/x")}).as_dict()
