"""``--task features``: a network without a classifier, from its checkpoint folder to a table of its own."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models._hub import save_config_for_hf

from harness.cli.main import main
from harness.errors import CaptureError, ModelError, UsageError
from harness.run.features import FeatureEvaluation
from harness.run.prepare import prepare
from harness.run.run_trial import run_trial
from harness.store.check import problems
from harness.store.store import Store
from harness.trial.record_check import problems_of
from harness.trial.spec import TrialSpec
from tests.run.test_own_classes import image_folder

EDGE = 32


def checkpoint(folder, classes=0):
    """A small network with perturbed random weights, as timm saves it for a hub."""
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=classes, img_size=EDGE, global_pool="avg").eval()
    for parameter in network.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    network.pretrained_cfg |= {"input_size": (3, EDGE, EDGE), "crop_pct": 1.0}
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    save_config_for_hf(network, str(folder / "config.json"))
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Images whose class folders fit no network, and checkpoints without and with a classifier."""
    root = tmp_path_factory.mktemp("features")
    return {"data": image_folder(root / "hounds"), "bare": checkpoint(root / "bare"), "head": checkpoint(root / "head", 37)}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def spec(places, method="minmax", weights="bare", **changes):
    where = {"weights": places[weights], "data": str(places["data"]), "device": "cpu", "calib": 8}
    return TrialSpec(method, **{**where, "task": "features", **changes})


@pytest.fixture
def words(places, tmp_path):
    def of(*more, weights="bare"):
        where = ["--data", str(places["data"]), "--weights", str(places[weights]), "--store", str(tmp_path / "runs")]
        return [*where, "--method", "minmax", "--calib", "8", "--device", "cpu", "--quiet", *more]

    return of


def test_metrics_are_those_of_vectors():
    result = FeatureEvaluation()
    full = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    result.add(torch.tensor([[3.0, 4.0], [2.0, 2.0]]), full, torch.zeros(2))
    assert result.metrics() == {
        "n_images": 2,
        "feature_cosine": pytest.approx((1 + 0.5**0.5) / 2),
        "feature_cosine_min": pytest.approx(0.5**0.5),
        "feature_sqnr_db": pytest.approx(10 * torch.tensor(29 / 4.0).log10().item()),
        "feature_mse": pytest.approx(2.0),
    }


def test_what_is_no_vector_is_refused():
    with pytest.raises(CaptureError, match=r"outputs of shape \(5, 4, 4\) per image"):
        FeatureEvaluation().add(torch.zeros(2, 5, 4, 4), torch.zeros(2, 5, 4, 4), torch.zeros(2))


def test_from_a_checkpoint_to_a_table_of_its_own(words, tmp_path, capsys):
    assert main(["run", *words("--task", "features", "--noise-floor")]) == 0
    shown = capsys.readouterr().out
    assert "cosine" in shown
    assert "top-1" not in shown
    assert "--task features" in shown
    (record,) = Store(tmp_path / "runs").records()
    assert problems_of(record) == []
    assert record["spec"]["task"] == "features"
    assert not [name for name in record["metrics"] if name.startswith(("top", "n_correct", "agreement"))]
    assert 0.5 < record["metrics"]["feature_cosine_min"] <= record["metrics"]["feature_cosine"] < 1
    assert record["metrics"]["feature_sqnr_db"] > 3
    assert "agreement" not in record["noise_floor"]
    assert not {"anchor", "classes", "expected_drop"} & record.keys()
    assert list(problems(Store(tmp_path / "runs"))) == []
    assert main(["run", "--trial", record["id"], "--store", str(tmp_path / "runs"), "--quiet"]) == 0
    assert "repetition gives the same numbers" in capsys.readouterr().err


def test_features_and_accuracies_never_share_a_table(places, words, tmp_path, capsys):
    store = Store(tmp_path / "runs")
    for seed in (0, 1):
        assert main(["run", *words("--task", "features", "--seed", str(seed))]) == 0
    assert main(["run", *words("--task", "features", weights="head")]) == 0
    assert main(["run", *words(weights="head")]) == 0
    capsys.readouterr()
    assert main(["report", "--store", str(store.root), "--format", "md"]) == 0
    boards, _, features = capsys.readouterr().out.partition("### Features: ")
    assert "Top-1 in percent" in boards + features
    accuracies = [one for one in store.records() if "top1" in one["metrics"]]
    others = [one for one in store.records() if "top1" not in one["metrics"]]
    assert (len(accuracies), len(others)) == (1, 3)
    assert accuracies[0]["id"] in boards
    assert not any(one["id"] in boards for one in others)
    assert all(one["id"] in features for one in others)
    assert accuracies[0]["id"] not in features.partition("### ")[0]
    assert "±" in features
    assert main(["report", "--store", str(store.root), "--out", str(tmp_path / "report")]) == 0
    written = (tmp_path / "report" / "features.csv").read_text()
    assert all(one["id"] in written for one in others)
    assert not any(one["id"] in (tmp_path / "report" / "leaderboard.csv").read_text() for one in others)
    capsys.readouterr()
    assert main(["compare", others[0]["id"], accuracies[0]["id"], "--store", str(store.root)]) == 2
    assert "no done record matches" in capsys.readouterr().err


def test_nothing_quantized_moves_nothing(places, tmp_path):
    record = run_trial(spec(places, bits="w32a32"), Store(tmp_path / "runs")).record
    assert record["metrics"]["feature_cosine"] == pytest.approx(1, abs=1e-12)
    assert record["metrics"]["feature_sqnr_db"] is None


def test_the_task_is_part_of_the_id_where_it_differs(places):
    one, other = prepare(spec(places, weights="head")), prepare(spec(places, weights="head", task="classification"))
    assert one.id != other.id
    assert "task" not in other.identity
    one, other = (prepare(TrialSpec("minmax", task=task)) for task in ("features", "classification"))
    assert one.id != other.id
    assert one.prefixes == other.prefixes, "quantized states are shared"


def test_a_network_without_a_classifier_needs_the_task(places):
    with pytest.raises(ModelError, match=r"no classifier: there is no top-1 \(.*--task features"):
        prepare(spec(places, task="classification"))


def test_what_needs_labels_is_refused(places):
    with pytest.raises(UsageError, match="looks at top-1 on evaluation images"):
        prepare(spec(places, "fqvit+evolq(selection=evaluation)"))
    with pytest.raises(UsageError, match="have no meaning with --task features"):
        prepare(spec(places, classes="timm"))
    with pytest.raises(UsageError, match="Did you mean features"):
        spec(places, task="feature")


def test_a_plan_says_how_many(words, capsys):
    assert main(["plan", *words("--task", "features", "--seed", "0,1")]) == 0
    assert "task          features: 2 of 2" in capsys.readouterr().out


def test_a_record_without_the_numbers_of_its_task_is_refused(places, tmp_path):
    record = json.loads(json.dumps(run_trial(spec(places), Store(tmp_path / "runs")).record))
    del record["metrics"]["feature_mse"]
    assert problems_of(record) == ["metrics.feature_mse is missing"]
    record["spec"]["task"] = "classification"
    assert "metrics.top1 is missing" in problems_of(record)
