"""Data sets of timm's readers: parquet and tar shards made here, without a network."""

import pytest
import torch
from timm.data import create_dataset

from harness.data.preprocessing import Preprocessing
from harness.data.sources import open_source
from harness.errors import DataError, UsageError
from harness.trial.readers import reader_data
from harness.trial.spec import TrialSpec
from tests.data.conftest import write_image
from tests.data.reader_files import CLASSES, SPLITS, samples, write_parquet, write_shard, write_shards

GREY = Preprocessing((1, 28, 28), "bicubic", 1.0, "center", (0.0,), (1.0,))
COLOUR = Preprocessing((3, 28, 28), "bicubic", 1.0, "center", (0.0,) * 3, (1.0,) * 3)


@pytest.fixture
def parquet(tmp_path, monkeypatch):
    """Writes a folder of parquet files; returns the text for ``--data``."""
    pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "arrow")
    return lambda name="parquet", **more: f"hfds/{write_parquet(tmp_path / name, **more)}"


@pytest.fixture
def shards(tmp_path):
    """Writes a folder of tar shards of ten samples; returns the text for ``--data``."""
    pytest.importorskip("webdataset")
    return lambda name="shards", **more: f"wds/{write_shards(tmp_path / name, **more)}"


def evaluated(source, preprocessing=GREY, limit=None):
    batches = list(source.evaluation(limit, preprocessing).batches(8))
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


def test_parquet_and_tar_shards_of_the_same_images_are_the_same_data(parquet, shards):
    sources = [open_source(text).labelled(CLASSES, "net") for text in (parquet(), shards(), shards("listed", info=True))]
    assert len({one.fingerprint for one in sources}) == 1
    assert len({one.calibration_fingerprint(5, 3) for one in sources}) == 1
    assert [one.calibration_size for one in sources] == [12] * 3
    first, labels = evaluated(sources[0])
    assert labels.tolist() == [label for _, label in SPLITS["validation"]]
    for other in sources[1:]:
        assert torch.equal(evaluated(other)[0], first)
        assert torch.equal(other.calibration(5, 3, GREY).images, sources[0].calibration(5, 3, GREY).images)
    assert len({one.labels_sha256 for one in sources}) == 1
    assert {one.labels for one in sources} == {"class indices of the data set"}


def test_tar_shards_are_read_as_timm_reads_them(shards):
    text = shards(info=True)
    theirs = create_dataset("wds/x", root=text.removeprefix("wds/"), split="validation", input_img_mode="L")
    images, labels = evaluated(open_source(text).labelled(CLASSES, "net"))
    expected = [(GREY.transform()(image), label) for image, label in theirs]
    assert len(expected) == len(images)
    assert torch.equal(images, torch.stack([image for image, _ in expected]))
    assert labels.tolist() == [label for _, label in expected]


def test_parquet_is_read_as_timm_reads_it(parquet):
    text = parquet()
    theirs = create_dataset(text, split="validation")
    images, _ = evaluated(open_source(text).labelled(CLASSES, "net"), COLOUR)
    assert torch.equal(images, torch.stack([COLOUR.transform()(theirs[i][0]) for i in range(len(theirs))]))


def test_the_calibration_draw_depends_on_the_seed_and_is_nested(shards):
    source = open_source(shards())
    one, same, other = (source.calibration(6, seed, COLOUR).images for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(source.calibration(3, 1, COLOUR).images, one[:3])
    assert source.calibration_fingerprint(6, 1) != source.calibration_fingerprint(6, 2)


def test_the_fingerprint_is_kept_until_a_shard_changes(shards, monkeypatch, tmp_path):
    text = shards()
    before = open_source(text).fingerprint
    with monkeypatch.context() as patched:
        patched.setattr("harness.data.rows._read", lambda *_: pytest.fail("hashed again"))
        patched.setattr("harness.data.tar_index._scanned", lambda *_: pytest.fail("listed again"))
        assert open_source(text).fingerprint == before
    write_shard(tmp_path / "shards" / "validation-0002.tar", samples("other", 7), "cls")
    assert open_source(text).fingerprint != before


def test_labels_are_part_of_the_fingerprint(shards):
    turned = {**SPLITS, "validation": [(image, CLASSES - 1 - label) for image, label in SPLITS["validation"]]}
    assert open_source(shards()).fingerprint != open_source(shards("turned", splits=turned)).fingerprint


def test_a_broken_cache_is_made_anew(shards, tmp_path, capsys):
    text = shards()
    before = open_source(text).fingerprint
    files = sorted((tmp_path / "cache" / "ptq-harness" / "reader-index").iterdir())
    for file in files:
        file.write_bytes(file.read_bytes()[:50])
    assert open_source(text).fingerprint == before
    assert len(files) == 3
    said = capsys.readouterr().err
    assert all(f"{file} is not used" in said for file in files)
    assert "info file" not in said, "timm's warning of shards without a list"


def test_images_on_both_sides_are_named(shards):
    source = open_source(shards(splits={"train": SPLITS["train"], "validation": SPLITS["train"][:10]}))
    assert set(source.overlap(12, 0)) == {f"train[{index}]" for index in range(10)}


def test_the_split_is_chosen_by_setting(parquet):
    text = parquet(splits={**SPLITS, "test": samples("test", 20)})
    assert "evaluation from split validation" in open_source(text).split
    source = open_source(f"{text}(evaluation=test,calibration=validation)")
    assert source.split == "calibration from split validation, evaluation from split test"
    assert len(source.evaluation(None, GREY)) == 20
    assert source.calibration_size == 25


@pytest.mark.parametrize("kind", ["parquet", "shards"])
def test_a_missing_split_names_what_is_there(kind, request):
    text = request.getfixturevalue(kind)(splits={"train": SPLITS["train"], "holdout": SPLITS["validation"]})
    with pytest.raises(DataError, match=r"splits holdout, train"):
        open_source(text)
    with pytest.raises(DataError, match=r"'tests'.*holdout"):
        open_source(f"{text}(evaluation=tests)")
    with pytest.raises(DataError, match="holdout"):
        open_source(f"{text}(calibration=tests,evaluation=holdout)")


def test_a_missing_column_names_what_is_there(parquet):
    with pytest.raises(DataError, match="no column 'fine_label'; it has image, label"):
        open_source(f"{parquet()}(label=fine_label)")


def test_labels_in_json_files(shards):
    source = open_source(f"{shards(label='category')}(label=category)").labelled(CLASSES, "net")
    assert evaluated(source)[1].tolist() == [label for _, label in SPLITS["validation"]]
    with pytest.raises(DataError, match="a label in shard"):
        open_source(f"{shards('other', label='category')}(label=categories)")


def test_the_number_of_classes_must_be_the_heads(parquet, shards):
    with pytest.raises(DataError, match=r"10 classes in .*, the network net has 37 outputs"):
        open_source(parquet()).labelled(37, "net")
    with pytest.raises(DataError, match=r"classes up to 9 in .*, the network net has 7 outputs"):
        open_source(shards()).labelled(7, "net")


def test_names_of_imagenet_are_found_by_themselves(parquet):
    splits = {split: [(image, label % 3) for image, label in rows] for split, rows in SPLITS.items()}
    names = ["n01443537", "n01440764", "n02979186"]
    source = open_source(parquet(names=names, splits=splits)).labelled(1000, "net")
    assert evaluated(source)[1].tolist()[:3] == [1, 0, 482]
    assert source.labels == "imagenet-1k"
    assert source.labels_sha256


def test_a_mapping_file_says_which_class_is_which_output(parquet, shards, tmp_path):
    by_name, by_number = tmp_path / "names.csv", tmp_path / "numbers.csv"
    by_name.write_text("folder,index\n" + "".join(f"class {i},{i + 20}\n" for i in range(CLASSES)))
    by_number.write_text("folder,index\n" + "".join(f"{i},{i + 20}\n" for i in range(CLASSES)))
    one = open_source(parquet()).labelled(37, "net", str(by_name))
    other = open_source(shards()).labelled(37, "net", str(by_number))
    assert evaluated(one)[1].tolist() == evaluated(other)[1].tolist() == [label + 20 for _, label in SPLITS["validation"]]
    assert one.labels_sha256 == other.labels_sha256 != ""
    with pytest.raises(DataError, match="numbers its classes itself"):
        open_source(shards("again")).labelled(37, "net", "timm")


def test_a_split_without_labels_is_refused(parquet):
    splits = {**SPLITS, "validation": [(image, None) for image, _ in SPLITS["validation"]]}
    with pytest.raises(DataError, match="have no labels"):
        open_source(parquet(splits=splits)).labelled(CLASSES, "net")


def test_a_broken_image_is_named(shards):
    source = open_source(shards(splits={**SPLITS, "validation": [(b"no image", 9), *SPLITS["validation"]]}))
    with pytest.raises(DataError, match=r"validation\[0\].*its content is none of"):
        evaluated(source.labelled(CLASSES, "net"))


def test_torchvision_folders(tmp_path):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            write_image(tmp_path / "data" / split / name / "one.png", f"{split}/{name}")
    source = open_source(f"torch/image_folder(root={tmp_path / 'data'})").labelled(2, "net")
    assert evaluated(source)[1].tolist() == [0, 1]
    assert source.calibration_size == 2
    with pytest.raises(DataError, match="2 classes"):
        source.labelled(3, "net")
    with pytest.raises(DataError, match=r"no folders for the splits train and test; it has 'cat', 'dog'"):
        open_source(f"torch/folder(root={tmp_path / 'data' / 'val'},evaluation=test)")


def test_what_torchvision_does_not_have(tmp_path):
    with pytest.raises(DataError, match="Did you mean cifar10"):
        open_source(f"torch/cifar1(root={tmp_path})")
    with pytest.raises(DataError, match=r"expected torch/cifar10\(root=FOLDER\)"):
        open_source("torch/cifar10")
    with pytest.raises(DataError, match=r"cannot be opened: RuntimeError: Dataset not found.*download=true"):
        open_source(f"torch/cifar10(root={tmp_path})")
    with pytest.raises(DataError, match=r"no split 'validaton'. Did you mean validation"):
        open_source(f"torch/cifar10(root={tmp_path},evaluation=validaton)")


@pytest.mark.parametrize("kind", ["hfds", "wds"])
def test_a_missing_library_or_folder_is_named(kind, tmp_path, monkeypatch):
    library = {"hfds": "datasets", "wds": "webdataset"}[kind]
    with monkeypatch.context() as patched:
        patched.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(
            DataError, match=rf"{library} is not installed \(it needs an optional extra: .*ptq-harness\[data\]"
        ):
            open_source(f"{kind}/{tmp_path}")
    pytest.importorskip(library)
    with pytest.raises(DataError, match="'/nowhere/x' is no folder"):
        open_source(f"{kind}//nowhere/x")


def test_the_grammar():
    assert reader_data("photos") is None
    assert reader_data("./hfds/x") is None
    asked = reader_data("hfds/owner/name(evaluation=test, label=fine)")
    assert (asked.name, asked.evaluation, asked.label, asked.short) == ("owner/name", "test", "fine", "hfds/name")
    assert str(asked) == "hfds/owner/name(evaluation=test,label=fine)"
    assert reader_data(str(asked)) == asked
    for text, problem in {
        "hfds/": "names no data set",
        "hfds/x(evalution=test)": "Did you mean evaluation",
        "wds/x(evaluation=)": "has no value",
        "torch/x(download=yes)": "expected true",
        "wds/x(label=a,label=b)": "is there twice",
    }.items():
        with pytest.raises(UsageError, match=problem):
            reader_data(text)


def test_a_trial_writes_paths_absolute_and_hub_names_as_they_are(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = {
        text: TrialSpec(method="minmax", data=text) for text in ("hfds/owner/name", "wds/shards", "torch/mnist(root=m)")
    }
    written = [spec.as_dict()["data"] for spec in asked.values()]
    assert written == ["hfds/owner/name", f"wds/{tmp_path}/shards", f"torch/mnist(root={tmp_path}/m)"]
    assert [spec.data_name for spec in asked.values()] == ["hfds/name", "wds/shards", "torch/mnist"]
    with pytest.raises(UsageError, match="no setting"):
        TrialSpec(method="minmax", data="wds/x(root=y)")
