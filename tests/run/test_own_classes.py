"""A network of 37 classes of somebody's own: from its image folder and checkpoint folder to a row of a leaderboard."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.models._hub import save_config_for_hf

from harness.cli.main import main
from harness.data.preprocessing import of_model
from harness.run.reload import load_quantized
from harness.store.store import Store

COUNT, EDGE = 37, 32
BREEDS = [f"{first}{second}_hound" for first in "bdfklmr" for second in "aeiouy"][:COUNT]


def pictures(side, number):
    """Two images of a class: a pattern that only this class has, and a little noise."""
    pattern = np.random.default_rng(number).integers(10, 245, (EDGE, EDGE, 3))
    for index in range(2):
        noise = np.random.default_rng([number, index, len(side)]).integers(-6, 7, pattern.shape)
        yield Image.fromarray((pattern + noise).astype(np.uint8))


def image_folder(root):
    for side in ("train", "val"):
        for number, breed in enumerate(sorted(BREEDS)):
            (root / side / breed).mkdir(parents=True)
            for index, picture in enumerate(pictures(side, number)):
                picture.save(root / side / breed / f"{side}_{index}.png")
    return root


def fitted(folder):
    """A network whose classifier was fitted by least squares to the training images, as timm saves it for a hub."""
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=COUNT, img_size=EDGE, global_pool="avg").eval()
    network.pretrained_cfg |= {"input_size": (3, EDGE, EDGE), "crop_pct": 1.0}
    transform = of_model(network, {}).transform()
    images = [(transform(picture), number) for number in range(COUNT) for picture in pictures("train", number)]
    with torch.inference_mode():
        features = network.forward_head(network.forward_features(torch.stack([one for one, _ in images])), pre_logits=True)
    inputs = torch.cat([features, torch.ones(len(features), 1)], 1)
    wanted = torch.eye(COUNT)[[number for _, number in images]]
    solution = torch.linalg.solve(inputs.T @ inputs + 1e-3 * torch.eye(inputs.shape[1]), inputs.T @ wanted)
    network.head.weight.data, network.head.bias.data = solution[:-1].T.contiguous(), solution[-1].clone()
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    save_config_for_hf(network, str(folder / "config.json"))
    return folder


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command line of a trial on them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    places = ["--data", str(image_folder(tmp_path / "hounds")), "--weights", str(fitted(tmp_path / "checkpoint"))]
    how = ["--calib", "16", "--device", "cpu", "--quiet", "--store", str(tmp_path / "runs")]
    return ["run", "--method", "minmax", *places, *how]


def records(tmp_path):
    return [json.loads(path.read_text()) for path in (tmp_path / "runs").rglob("record.json")]


def test_from_folders_to_a_row_of_a_leaderboard(command, tmp_path, capsys):
    assert main(command) == 0
    (record,) = records(tmp_path)
    name = f"test_vit.file-{record['weights']['sha256'][:8]}"
    assert record["model"] == name
    assert record["metrics"]["n_images"] == 2 * COUNT
    assert record["metrics"]["top1_fp32"] > 95, "labels and outputs belong together"
    assert record["metrics"]["top1"] > 80
    assert record["data"]["labels"] == "order of the folder names"
    assert record["data"]["preprocessing"]["input_size"] == [3, EDGE, EDGE]
    capsys.readouterr()
    assert main(["report", "--store", str(tmp_path / "runs"), "--format", "md"]) == 0
    board = capsys.readouterr().out
    assert name.replace("_", r"\_") in board or name in board
    assert f"{record['metrics']['top1']:.2f}" in board


def test_a_class_file_that_says_the_same_is_the_same_trial(command, tmp_path, capsys):
    assert main(command) == 0
    path = tmp_path / "breeds.tsv"
    path.write_text("folder\tindex\tname\n" + "".join(f"{one}\t{i}\t\n" for i, one in enumerate(sorted(BREEDS))))
    assert main([*command, "--classes", str(path)]) == 0
    assert len(records(tmp_path)) == 1
    path.write_text("folder,index\n" + "".join(f"{one},{(i + 1) % COUNT}\n" for i, one in enumerate(sorted(BREEDS))))
    assert main([*command, "--classes", str(path)]) == 0
    first, second = sorted(records(tmp_path), key=lambda one: -one["metrics"]["top1_fp32"])
    assert first["spec"]["labels_sha256"] != second["spec"]["labels_sha256"]
    assert second["metrics"]["top1_fp32"] < 20
    assert second["data"]["labels"] == "file breeds.tsv"
    assert f"--classes {path}" in second["command"]


def test_its_quantized_network_is_rebuilt_from_the_folder(command, tmp_path):
    assert main(command) == 0
    (record,) = records(tmp_path)
    network = load_quantized(Store(tmp_path / "runs"), record["id"], weights=tmp_path / "checkpoint")
    assert network(torch.zeros(1, 3, EDGE, EDGE)).shape == (1, COUNT)


def test_data_of_other_classes_is_refused_before_any_work(command, tmp_path, capsys):
    (tmp_path / "hounds" / "val" / "zy_hound").mkdir()
    assert main(command) == 2
    assert f"38 class folders in '{tmp_path / 'hounds'}', the network test_vit.file-" in capsys.readouterr().err
    assert records(tmp_path) == []
