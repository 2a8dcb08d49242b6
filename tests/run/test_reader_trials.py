"""Trials on data sets of timm's readers, from the command line to a leaderboard."""

import json

import pytest

from harness.cli.main import main
from harness.store.store import Store
from tests.data.reader_files import CLASSES, SPLITS, samples, write_parquet, write_shards


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def words(tmp_path):
    """A command line of a trial on the embedded network, which has ten classes too."""
    how = ["--method", "minmax", "--calib", "8", "--device", "cpu", "--quiet", "--store", str(tmp_path / "runs")]
    return lambda data, *more: ["run", "--data", data, *how, *more]


def test_a_trial_on_shards(words, tmp_path, monkeypatch, capsys):
    pytest.importorskip("webdataset")
    write_shards(tmp_path / "shards")
    monkeypatch.chdir(tmp_path)
    assert main(words("wds/shards")) == 0
    (record,) = Store(tmp_path / "runs").records()
    assert record["metrics"]["n_images"] == 25
    assert record["data"]["name"] == "wds/shards"
    assert record["data"]["split"] == "calibration from split train, evaluation from split validation"
    assert record["data"]["labels"] == "class indices of the data set"
    assert record["asked"]["data"] == f"wds/{tmp_path}/shards"
    monkeypatch.chdir("/")
    capsys.readouterr()
    assert main(["run", "--trial", record["id"], "--store", str(tmp_path / "runs"), "--quiet"]) == 0
    assert "repetition gives the same counts" in capsys.readouterr().err
    assert main(["report", "--store", str(tmp_path / "runs")]) == 0
    assert "wds/shards" in capsys.readouterr().out


def test_parquet_of_the_same_images_is_the_same_trial(words, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    pytest.importorskip("webdataset")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    assert main(words(f"wds/{write_shards(tmp_path / 'shards')}")) == 0
    assert main(words(f"hfds/{write_parquet(tmp_path / 'parquet')}")) == 0
    assert len(list(Store(tmp_path / "runs").records())) == 1


def test_a_grid_over_two_splits(words, tmp_path, capsys):
    pytest.importorskip("webdataset")
    folder = write_shards(tmp_path / "shards", splits={**SPLITS, "test": samples("test", 20)})
    grid = ["plan", *words(f"wds/{folder},wds/{folder}(evaluation=test,calibration=train)", "--json")[1:]]
    assert main(grid) == 0
    trials = json.loads(capsys.readouterr().out)["trials"]
    assert [one["trial"]["data"] for one in trials] == [f"wds/{folder}", f"wds/{folder}(evaluation=test)"]
    assert len({one["id"] for one in trials}) == 2


def test_images_on_both_sides_are_refused(words, tmp_path, capsys):
    pytest.importorskip("webdataset")
    folder = write_shards(tmp_path / "shards", splits={"train": SPLITS["train"], "validation": SPLITS["train"]})
    assert main(words(f"wds/{folder}")) == 2
    assert "8 of 8 calibration images" in capsys.readouterr().err
    assert main(words(f"wds/{folder}", "--allow-overlap")) == 0
    (record,) = Store(tmp_path / "runs").records()
    assert record["data"]["overlap"] == 8


def test_a_broken_image_fails_with_a_record(words, tmp_path, capsys):
    pytest.importorskip("webdataset")
    broken = [*SPLITS["validation"], (b"no image", CLASSES - 1)]
    folder = write_shards(tmp_path / "shards", splits={**SPLITS, "validation": broken})
    assert main(words(f"wds/{folder}")) == 1
    (record,) = Store(tmp_path / "runs").records()
    assert record["error"]["kind"] == "data"
    assert "validation[25]" in record["error"]["message"]


@pytest.mark.parametrize(
    ("data", "said"),
    [("hfds/x(evalution=test)", "Did you mean evaluation"), ("torch/cifa10(root=x)", "Did you mean cifar10")],
)
def test_mistakes_are_one_line(words, data, said, capsys):
    assert main(words(data)) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown
