"""``harness diagnose`` as a user runs it."""

import json

import pandas as pd
import pytest

from harness.cli.main import main
from harness.data.sources import EmbeddedSource

pytestmark = pytest.mark.slow
GIVEN = ["diagnose", "--method", "minmax", "--bits", "w8a4;blocks.0=w4", "--calib", "8", "--held-out", "3", "--quiet"]


def test_table_json_csv_and_picture(tmp_path, capsys, monkeypatch):
    def refused(*_):
        raise AssertionError("evaluation images are out of bounds")

    monkeypatch.setattr(EmbeddedSource, "evaluation", refused)
    out = tmp_path / "found"
    assert main([*GIVEN, "--worst", "3", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "calibrated on 5 images, judged on 3 others" in text
    assert "verdict  " in text
    assert "forward passes of the held-out images (" in text
    content = json.loads((out / "diagnosis.json").read_text())
    rows = pd.read_csv(out / "diagnosis.csv")
    assert rows["site"].tolist() == [one["site"] for one in content["sites"]]
    assert rows.set_index("site")["bits"]["blocks.0.attn.qkv.weight"] == 4
    assert (rows["reasons"].fillna("") != "").sum() <= len(content["worst"]) == 3
    assert content["bits"] == "w8a4;blocks.0=w4"
    assert content["verdict"] in text
    assert "residual sums" in (out / "diagnosis.svg").read_text()
    assert (out / "diagnosis.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--held-out", "8"], "8 of 8 calibration images cannot be held out: expected 1 to 7"),
        (["--held-out", "0"], "expected 1 to 7"),
        (["--worst", "-1"], "--worst has -1, expected 0 to"),
        (["--bits", "w8a8;hed=w4"], "Did you mean head"),
        (["--method", "fp32"], "nothing of it is quantized"),
        (["--method", "fqvit+evolq(selection=evaluation)"], "looks at evaluation images"),
    ],
)
def test_mistakes_are_explained(changes, said, capsys):
    assert main([*GIVEN, *changes]) == 2
    assert said in capsys.readouterr().err


def test_a_method_is_asked_for(capsys):
    assert main(["diagnose"]) == 2
    assert "expected --method <stack>" in capsys.readouterr().err
