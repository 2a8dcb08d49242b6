"""Overrides of preprocessing are checked before any work: one line, exit code 2."""

import json

import pytest

from harness.cli.main import main
from harness.errors import UsageError
from harness.store.placeholder_records import skipped_id
from harness.trial.identity import content_id
from harness.trial.overrides import read_overrides
from harness.trial.spec import TrialSpec

WRONG = [
    ("mean=nan", "mean='nan' is not valid: expected a number from -1000 to 1000"),
    ("mean=0.5,inf,0.5", "expected a number from -1000"),
    ("mean=", "expected one number per channel"),
    ("mean=1e30", "expected a number from -1000"),
    ("mean=x", "'x' is no number"),
    ("std=0", "std='0' is not valid: expected a number from 1e-06 to 1000"),
    ("std=-1", "expected a number from 1e-06"),
    ("std=nan", "expected a number from 1e-06"),
    ("crop_pct=-0.5", "expected a number from 0.01 to 1"),
    ("crop_pct=1e-300", "expected a number from 0.01 to 1"),
    ("crop_pct=nan", "expected a number from 0.01 to 1"),
    ("crop_pct=2", "expected a number from 0.01 to 1"),
    ("crop=1", "unknown preprocessing 'crop'. Did you mean crop_pct"),
    ("input_size=-3", "unknown preprocessing 'input_size'"),
    ("interpolation=cubic", "Did you mean bicubic"),
    ("crop_mode=middle", "expected one of center, squash, border"),
    ("recipe=papers", "Did you mean paper"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_wrong_overrides_are_refused(text, said):
    with pytest.raises(UsageError) as caught:
        TrialSpec("minmax", preprocess=dict([text.split("=")]))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("command", "text"),
    [*[("run", text) for text in ("mean=nan", "mean=1,2", "std=0", "crop=1")], ("plan", "mean=nan"), ("plan", "crop=1")],
)
def test_at_the_command_line(command, text, tmp_path, capsys):
    words = [command, "--method", "minmax", "--calib", "4", "--eval-limit", "8", "--preprocess", text, "--quiet"]
    code = main([*words, "--store", str(tmp_path / "store")])
    said = capsys.readouterr()
    shown = said.err + said.out
    assert code == 2
    assert "Traceback" not in shown
    assert text.partition("=")[0] in said.err
    assert not (tmp_path / "store" / "trials").exists()


def test_what_is_understood():
    given = {"mean": "0.5/0.4 0.3", "std": "1,1,1", "crop_pct": "0.875", "crop_mode": "squash", "recipe": "paper"}
    assert read_overrides(given) == {
        "mean": (0.5, 0.4, 0.3),
        "std": (1.0, 1.0, 1.0),
        "crop_pct": 0.875,
        "crop_mode": "squash",
        "recipe": "paper",
    }


def test_true_and_false(tmp_path):
    assert TrialSpec.from_dict({"method": "x", "allow_overlap": "true"}).allow_overlap is True
    spec = TrialSpec("x", allow_overlap=True)
    assert TrialSpec.from_command(spec.command("x")) == spec
    assert "allow_overlap" not in json.dumps(spec.identity())
    for wrong in ("yes", 1, None):
        with pytest.raises(UsageError, match=r"allow overlap .* expected true or false"):
            TrialSpec("x", allow_overlap=wrong)


def test_fields_that_came_later_leave_the_ids_of_skipped_trials():
    values = {"method": "x", "model": "embedded", "weights": None, "data": "embedded", "bits": "w8a8", "calib": 256}
    values |= {"calib_source": "data", "seed": 0, "eval_limit": None, "preprocess": {}}
    plain = TrialSpec("x", arithmetic="float")
    assert skipped_id(plain) == content_id({"what": "skipped", **values})
    for later in ({"allow_overlap": True}, {"classes": "timm"}, {"arithmetic": "integer"}):
        assert skipped_id(TrialSpec("x", **{"arithmetic": "float", **later})) != skipped_id(plain)


@pytest.mark.parametrize("wrong", ["/proc/x", ["crop_pct"], 3])
def test_preprocessing_that_is_no_mapping_is_refused(wrong):
    """From a damaged file of a sweep; it once ended ``status`` with a traceback."""
    values = {"method": "minmax", "preprocess": wrong}
    for make in (TrialSpec.from_dict, lambda values: TrialSpec(**values)):
        with pytest.raises(UsageError, match="expected names with values"):
            make(values)
