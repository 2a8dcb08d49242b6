"""The grammar of grids: Hydra's overrides, flags, experiments, and what is said about mistakes."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.commands import sweep
from harness.cli.commands.grid_options import overrides
from harness.errors import StackError, UsageError
from harness.sweep.compose import compose_sweep, experiments, parse_settings
from harness.sweep.grid import expand, models
from harness.sweep.launch.options import LocalOptions, SlurmOptions, launcher_options
from harness.text import split_outside
from harness.trial.spec import TrialSpec


def test_the_grid_is_the_product_of_all_values():
    composed = compose_sweep(["method=fqvit,fqvit+omse", "bits=w4a8,w8a8", "calib=[128,512]", "seed=range(3)"])
    assert len(composed.specs) == len(set(map(str, composed.specs))) == 2 * 2 * 2 * 3
    assert {spec.seed for spec in composed.specs} == {0, 1, 2}
    assert [spec.method for spec in composed.specs[:2]] == ["fqvit", "fqvit+omse"], "stacks of the same images together"
    assert composed.launcher == {"kind": "local", "workers": 0}


def test_stacks_with_settings_need_no_quoting():
    composed = compose_sweep(["method=fqvit+evolq(passes=3,loss=mse),fqvit(lis=true)"])
    assert [spec.method for spec in composed.specs] == ["fqvit+evolq(passes=3,loss=mse)", "fqvit(lis=true)"]
    quoted = compose_sweep(["method='fqvit+evolq(passes=3,loss=mse)',fqvit"])
    assert [spec.method for spec in quoted.specs] == ["fqvit+evolq(passes=3,loss=mse)", "fqvit"]


def test_preprocessing_can_be_swept():
    composed = compose_sweep(["method=fqvit", "preprocess.crop_pct=0.875,0.9"])
    assert [dict(spec.preprocess) for spec in composed.specs] == [{"crop_pct": "0.875"}, {"crop_pct": "0.9"}]


@pytest.mark.parametrize("name", experiments())
def test_every_experiment_composes(name):
    composed = compose_sweep([f"experiment={name}"])
    assert composed.specs
    assert composed.name == name
    assert expand(composed.specs)


def test_the_command_line_wins_over_the_experiment():
    whole, part = compose_sweep(["experiment=table1"]), compose_sweep(["bits=w4a8", "experiment=table1", "seed=0,1"])
    assert (len(whole.specs), len(part.specs)) == (36, 8)


def test_own_experiments_and_launchers(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "launcher").mkdir()
    text = "# @package _global_\nmethod: fqvit,fqvit+omse\nseed: range(2)\nbits: [w4a8]\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    (tmp_path / "launcher" / "ours.yaml").write_text("kind: slurm\npartition: gpu\n")
    composed = compose_sweep(["experiment=mine", "launcher=ours"], tmp_path)
    assert len(composed.specs) == 4
    assert launcher_options(composed.launcher) == SlurmOptions(partition="gpu")
    assert "mine" in experiments(tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["experiment=tabel1"], "Did you mean table1"),
        (["metod=fqvit"], "unknown key 'metod'. Did you mean method"),
        (["method=fqvit", "launcher.partion=x", "launcher=slurm"], "Did you mean launcher.partition"),
        (["method=fqvit", "seed=range(3"], "'seed=range(3' not understood"),
        (["method"], "expected key=value"),
        ([], "no method given"),
        (["method=fqvit", "calib=many"], "calib 'many' is not possible"),
        (["method=fqvit", "ladder=7"], "ladder is 7, expected true or false"),
        (["method=fqvit", "seed=-1"], "expected 0 or more"),
        (["method=fqvit", "bits=[]"], "bits has no value"),
    ],
)
def test_mistakes_are_explained(given, said):
    with pytest.raises(UsageError) as caught:
        compose_sweep(given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_config_folder_is_named(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        compose_sweep(["method=fqvit"], tmp_path / "none")


def flags(*words):
    parser = argparse.ArgumentParser()
    sweep.add_options(parser)
    return overrides(parser.parse_args(words))


def test_flags_are_another_spelling():
    texts = flags(
        *["--method", "fqvit,fqvit+evolq(passes=3,loss=mse)", "--bits", "w4a8,w8a8", "--seed", "range(2)"],
        *["--partition", "gpu", "--timeout", "60", "--memory-gb", "16", "--setup", "module load cuda, please"],
        *[
            "--sbatch",
            "reservation=o'clock",
            "--sbatch",
            "no-requeue",
            "--preprocess",
            "crop_pct=0.9",
            "--ladder",
            "calib=32",
        ],
    )
    composed = compose_sweep(texts)
    assert len(composed.specs) == 2 * 2 * 2
    assert composed.ladder
    assert composed.specs[0].calib == 32
    options = launcher_options(composed.launcher)
    assert isinstance(options, SlurmOptions), "an option of SLURM means SLURM"
    assert (options.partition, options.timeout_min, options.memory_gb) == ("gpu", 60, 16)
    assert options.setup == ["module load cuda, please"]
    assert options.sbatch == {"reservation": "o'clock", "no-requeue": True}, "an option without a value is a switch"
    assert launcher_options(compose_sweep(flags("--method", "fqvit", "--workers", "2")).launcher) == LocalOptions(workers=2)


@pytest.mark.parametrize("minutes", [1, 14])
def test_short_time_limits_are_refused_with_the_reason(minutes):
    with pytest.raises(UsageError, match=r"too short: expected at least 15 .*preemption"):
        launcher_options({"kind": "slurm", "timeout_min": minutes})
    assert launcher_options({"kind": "slurm", "timeout_min": 15})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "slrum"}, "Did you mean slurm"),
        ({"kind": "slurm", "cpus": 0}, "cpus"),
        ({"kind": "slurm", "partion": "x"}, "Did you mean partition"),
        ({"kind": "local", "workers": "many"}, "workers"),
    ],
)
def test_wrong_launchers_are_explained(values, said):
    with pytest.raises(UsageError, match=said):
        launcher_options(values)


def test_settings_of_resume():
    assert parse_settings(["batch=32", "launcher.memory_gb=64"]) == {"batch": 32, "launcher.memory_gb": 64}
    with pytest.raises(UsageError, match="several values"):
        parse_settings(["batch=1,2"])


def test_ladders_and_patterns_are_expanded_without_repetitions():
    specs = expand([TrialSpec("fqvit+omse+biascorr"), TrialSpec("fqvit+omse")], ladder=True)
    assert [spec.method for spec in specs] == ["fqvit", "fqvit+omse", "fqvit+omse+biascorr"]
    assert [spec.method for spec in expand([TrialSpec("fqvit( ptf = true )"), TrialSpec("fqvit")])] == ["fqvit"]
    assert {spec.model.partition("_")[0] for spec in expand([TrialSpec("fqvit", model="*_tiny_*")])} == {
        "vit",
        "deit",
        "swin",
    }
    assert "resnet34.a1_in1k" in models("resnet3?")
    with pytest.raises(UsageError, match="no model matches 'deti_\\*'"):
        models("deti_*")


def test_every_wrong_stack_of_a_grid_is_named():
    with pytest.raises(UsageError) as caught:
        expand([TrialSpec("fqvit+omze"), TrialSpec("fqvit"), TrialSpec("omse")])
    assert "omze" in str(caught.value)
    assert "omse needs" in str(caught.value)
    with pytest.raises(StackError):
        expand([TrialSpec("omse")])


@given(st.lists(st.from_regex(r"[a-z]{1,5}(\([a-z]=\d(,[a-z]=\d)*\))?", fullmatch=True), min_size=1))
def test_splitting_keeps_settings_together(parts):
    assert list(split_outside(",".join(parts))) == parts


@given(
    st.builds(
        TrialSpec,
        method=st.text(min_size=1),
        bits=st.text(),
        calib=st.integers(max_value=2**63 - 1),
        seed=st.integers(min_value=0, max_value=2**63 - 1),
        eval_limit=st.none() | st.integers(min_value=1, max_value=2**63 - 1),
        preprocess=st.dictionaries(st.sampled_from(["mean", "std"]), st.floats(0.1, 1).map(str)),
    )
)
def test_specs_survive_json(spec):
    import json

    assert TrialSpec.from_dict(json.loads(json.dumps(spec.as_dict()))) == spec


def test_unknown_fields_of_a_spec_are_refused():
    with pytest.raises(UsageError, match="Did you mean bits"):
        TrialSpec.from_dict({"method": "fqvit", "bitz": "w4a8"})


def test_models_are_names_although_their_cards_lie_in_a_folder_of_that_name():
    composed = compose_sweep(["method=fqvit", "model=deit_tiny_patch16_224.fb_in1k,embedded", "bits=w4a8"])
    assert [spec.model for spec in composed.specs] == ["deit_tiny_patch16_224.fb_in1k", "embedded"]
    assert [spec.model for spec in compose_sweep(["method=fqvit", "model=deit_*"]).specs] == ["deit_*"]
    assert [spec.model for spec in compose_sweep(["method=fqvit", "model=[resnet18,embedded]"]).specs] == [
        "resnet18",
        "embedded",
    ]


def test_the_papers_preprocessing_is_a_recipe():
    (spec,) = compose_sweep(["method=fqvit", "preprocess.recipe=paper"]).specs
    assert dict(spec.preprocess) == {"recipe": "paper"}


@pytest.mark.parametrize("text", ["=", "=3"])
def test_a_setting_without_a_key_is_named(text):
    with pytest.raises(UsageError, match=f"'{text}' has no key, expected key=value"):
        parse_settings([text])
