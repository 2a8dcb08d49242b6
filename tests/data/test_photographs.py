"""The photographs of the project: complete, attributed, on fixed sides that follow from their names alone."""

import csv
import shutil
from collections import Counter

import pytest

from harness.cli.actions.listing import DATA
from harness.cli.main import main
from harness.data.photographs import CALIBRATION, EVALUATION, FOLDER, SPLIT, photographs, split_of
from harness.data.preprocessing import Preprocessing
from harness.data.sources import open_source
from harness.errors import DataError
from harness.sweep.compose import compose_sweep
from harness.trial.spec import CALIB, TrialSpec

MOST_BYTES = 40e6
PREPROCESSING = Preprocessing((3, 224, 224), "bicubic", 0.9, "center", (0.5,) * 3, (0.5,) * 3)


def table(name):
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def files():
    return sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*"))


def test_every_photograph_has_a_side_and_an_author(files):
    assert [row["image"] for row in table(SPLIT)] == files
    attributed = table("attribution.csv")
    assert sorted(f"{row['wnid']}/{row['image']}.jpg" for row in attributed) == files
    for row in attributed:
        assert row["author"].strip()
        assert row["page"].startswith(("https://", "http://"))
        assert row["license"] == "https://creativecommons.org/licenses/by/2.0/"
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < MOST_BYTES, "they are in the wheel"


def test_the_sides_follow_from_the_names_alone(files):
    kept = {row["image"]: row["side"] for row in table(SPLIT)}
    assert split_of(files) == split_of(reversed(files)) == kept
    assert Counter(kept.values()) == {CALIBRATION: 100, EVALUATION: 400}


def test_classes_are_balanced_as_far_as_possible(files):
    sides = {row["image"]: row["side"] for row in table(SPLIT)}
    classes = {side: Counter(n.partition("/")[0] for n in files if sides[n] == side) for side in (CALIBRATION, EVALUATION)}
    assert set(classes[EVALUATION]) == {name.partition("/")[0] for name in files}, "every class is evaluated"
    assert set(classes[CALIBRATION].values()) == {1}, "no class calibrates twice"
    untouched = {name for name in classes[EVALUATION] if name not in classes[CALIBRATION]}
    assert all(classes[EVALUATION][name] <= 2 for name in untouched), "the largest classes gave one image each"


def test_the_source():
    source = open_source("photos")
    assert (source.name, source.classes, source.calibration_size) == ("photos", 1000, 100)
    assert source.overlap(100, 0) == ()
    assert source.fingerprint == photographs().fingerprint
    evaluation = source.evaluation(None, PREPROCESSING)
    assert len(evaluation) == 400
    images, labels = next(iter(source.evaluation(4, PREPROCESSING).batches(4)))
    assert images.shape == (4, 3, 224, 224)
    assert labels[0] == 2, "n01484850, the great white shark, is the third class"
    with pytest.raises(DataError, match="expected 1 to 100: photos has 100"):
        source.calibration(101, 0, PREPROCESSING)


def test_a_copy_elsewhere_is_the_same_data(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "copy")
    (tmp_path / "copy" / "n01484850" / "mine.jpg").write_bytes(b"not in the list")
    assert photographs(folder=tmp_path / "copy").fingerprint == photographs().fingerprint


@pytest.mark.parametrize("damage", ["no list", "no columns", "no text", "no photograph", "no class"])
def test_what_is_missing_is_named(damage, tmp_path):
    name = "n01484850/668bc83a884d24f9.jpg"
    (tmp_path / "n01484850").mkdir()
    text = {"no columns": "a,b\n1,2\n", "no class": "image,side\ncats/x.jpg,evaluation\n"}
    text |= {"no photograph": f"image,side\n{name},evaluation\n", "no text": "\udcff"}
    if damage == "no class":
        (tmp_path / "cats").mkdir()
        (tmp_path / "cats" / "x.jpg").touch()
    if damage != "no list":
        (tmp_path / SPLIT).write_text(text[damage], errors="surrogateescape")
    said = {"no class": "no ImageNet-1k class", "no photograph": f"1 of 1 files, first '{name}'"}.get(damage, SPLIT)
    with pytest.raises(DataError, match=said) as refused:
        photographs(folder=tmp_path)
    assert str(tmp_path) in str(refused.value)


def test_the_word_is_no_path_and_brings_its_own_number(capsys):
    spec = TrialSpec(method="fqvit", data="photos")
    assert (spec.as_dict()["data"], spec.data_name, spec.calib) == ("photos", "photos", 100)
    assert "--data photos --bits w8a8 --calib 100" in spec.command("fqvit")
    assert TrialSpec.from_dict(spec.as_dict()) == spec
    assert TrialSpec(method="fqvit").calib == CALIB
    assert TrialSpec(method="fqvit", data="photos", calib=32).calib == 32
    grid = compose_sweep(["method=fqvit", "data=embedded,photos"]).specs
    assert [(one.data, one.calib) for one in grid] == [("embedded", CALIB), ("photos", 100)]
    assert main(["list", "data"]) == 0
    assert "photos " in capsys.readouterr().out
    assert "photos" in {row["name"] for row in DATA}


def test_classes_of_the_network_must_fit(capsys):
    assert main(["run", "--method", "minmax", "--data", "photos"]) == 2
    assert "299 class folders in 'photos', the network vit_pico_patch4_28" in capsys.readouterr().err
