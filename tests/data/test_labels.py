"""Which output of a network a class folder is: ImageNet's ids, indices, the order of names, or a file; never a guess."""

import os

import pytest
from timm.data import ImageNetInfo
from timm.data.readers.reader_image_folder import find_images_and_targets

from harness.data.labels import Wanted, imagenet_index, labels_of
from harness.data.sources import open_source
from harness.errors import DataError
from harness.trial.spec import TrialSpec
from tests.data.conftest import write_image

PETS = ["Abyssinian", "american_bulldog", "Bengal", "beagle"]
PLAIN = [f"breed_{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(37)]


def labels(folders, outputs, classes=None):
    return labels_of(Wanted(sorted(folders), outputs, "pets", "test_vit"), classes)


def test_as_many_folders_as_outputs_are_classes_in_order():
    found = labels(PLAIN, 37)
    assert found.index == {name: i for i, name in enumerate(PLAIN)}
    assert len(found.sha256) == 64


def test_other_numbers_are_refused_with_both():
    with pytest.raises(
        DataError, match=r"37 class folders in 'pets', the network test_vit has 1,000 outputs; 37 of .* no imagenet-1k"
    ):
        labels(PLAIN, 1000)
    with pytest.raises(
        DataError, match=r"^37 class folders in 'pets', the network test_vit has 40 outputs \(expected a folder per"
    ):
        labels(PLAIN, 40)
    with pytest.raises(DataError, match=r"1 class folder in 'pets', .* 1 of the folders are no imagenet-1k class: 'n0144'"):
        labels(["n0144"], 1000)


def test_an_order_that_is_not_certain_is_refused_and_can_be_chosen(tmp_path):
    with pytest.raises(
        DataError, match=r"class 1 is 'Bengal' for torchvision and 'american_bulldog' for timm.*--classes timm"
    ):
        labels(PETS, 4)
    for name in PETS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    by_timm, by_torchvision = labels(PETS, 4, "timm"), labels(PETS, 4, "torchvision")
    assert by_timm.index == find_images_and_targets(str(tmp_path))[1]
    assert by_torchvision.index == {name: i for i, name in enumerate(sorted(PETS))}
    assert by_timm.sha256 != by_torchvision.sha256


@pytest.mark.parametrize(
    "names", [["a10", "a9", "A8"], ["2b", "10a", "x"], ["1", "a", "1a"], ["x1y2", "x1", "x01y3"]], ids=str
)
def test_timms_order_is_timms(names, tmp_path):
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    assert labels(names, len(names), "timm").index == find_images_and_targets(str(tmp_path))[1]


def test_a_chosen_order_needs_all_classes():
    with pytest.raises(DataError, match="4 class folders in 'pets', the network test_vit has 5 outputs"):
        labels(PETS, 5, "timm")


def test_names_that_are_indices_are_taken_at_their_word():
    numbers = [str(i) for i in range(37)]
    assert labels(numbers, 37).index == {name: int(name) for name in numbers}
    assert labels(["5", "36"], 37).index == {"5": 5, "36": 36}
    with pytest.raises(DataError, match="2 class folders"):
        labels(["5", "37"], 37)


def test_imagenet_is_known_by_its_ids():
    names = ["n01440764", "n01443537", "999"]
    found = labels(names, 1000)
    assert found.index == {"n01440764": 0, "n01443537": 1, "999": 999}
    assert found.sha256 == "", "as before there were other labels: ids stay"
    large = ImageNetInfo("imagenet-22k").label_names()
    assert labels(names[:2], 21841).index == {name: large.index(name) for name in names[:2]}
    assert labels(names[:2], 21841).sha256
    assert len(imagenet_index(21843)) == 2 * 21843
    assert labels(names[:2], 2).index == {"n01440764": 0, "n01443537": 1}, "a part of ImageNet with a head of its own"


@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_file_says_it(tmp_path, separator):
    path = tmp_path / "classes.csv"
    rows = [["Name", "index", "folder"], ["a cat", "1", "Bengal"], ["a dog", "0", "beagle"], ["", "7", "not there"]]
    path.write_text("\n".join(separator.join(row) for row in rows) + "\n")
    found = labels(["Bengal", "beagle"], 3, str(path))
    assert (found.index, found.rule) == ({"Bengal": 1, "beagle": 0}, "file classes.csv")


def test_names_of_any_bytes_stand_in_a_file(tmp_path):
    odd = [os.fsdecode(b"\xffx"), 'a,"b"', "two\nlines", "with\ttab"]
    path = tmp_path / "classes.csv"
    cells = ['"' + name.replace('"', '""') + '"' for name in odd]
    path.write_bytes(os.fsencode("folder,index\n" + "\n".join(f"{cell},{i}" for i, cell in enumerate(cells))))
    assert labels(odd, 4, str(path)).index == {name: i for i, name in enumerate(odd)}


def test_a_file_that_says_what_the_names_say_changes_no_id(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("folder,index\nn01440764,0\nn01443537,1\n")
    assert labels(["n01440764", "n01443537"], 1000, str(path)).sha256 == ""


BROKEN = {
    "": "has the columns",
    "folder,class\na,0\n": r"has the columns \['class', 'folder'\]",
    "folder,index\n": "has no rows",
    "folder,index\na,-1\n": "line 2: index '-1' is no whole number",
    "folder,index\na,1.0\n": "line 2: index '1.0'",
    "folder,index\na,99999999999999\n": "line 2: index '99999999999999'",
    "folder,index\na\n": "line 2: index ''",
    "folder,index\na,0\na,1\n": "line 3: folder 'a' has two indices, 0 and 1",
    "folder,index\na,0\n": "1 of 2 class folders of 'pets' are not in .*: 'b'",
    "folder,index\na,0\nb,2\n": r"class folder 'b' the index 2, the network test_vit has 2 outputs \(expected 0 to 1",
    'folder,index\n"a': "cannot be read: unexpected end of data",
    "folder,index\na,\x000\n": "classes.csv",
    f"folder,index\n{'a' * 200_000},0\n": "field larger than field limit",
}


@pytest.mark.parametrize("text", BROKEN, ids=[one[:25].replace("\n", " ") for one in BROKEN])
def test_a_file_that_cannot_be_used_is_named(tmp_path, text):
    path = tmp_path / "classes.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=BROKEN[text]):
        labels(["a", "b"], 2, str(path))


def test_places_without_a_file_of_classes(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in ((tmp_path, "is no file"), (tmp_path / "pipe", "is no file"), (tmp_path / "gone", "No such file")):
        with pytest.raises(DataError, match=said):
            labels(["a"], 1, str(path))
    with pytest.raises(DataError, match="word timm or torchvision"):
        labels(["a"], 1, "tim")


def test_evaluation_has_the_labels_and_both_sides_count(tmp_path, preprocessing_224):
    for place, names in (("train", "abc"), ("val", "bc")):
        for name in names:
            (tmp_path / place / name).mkdir(parents=True)
            write_image(tmp_path / place / name / "1.png", f"{place}{name}")
    source = open_source(str(tmp_path))
    ((_, found),) = source.labelled(3, "test_vit").evaluation(None, preprocessing_224).batches(9)
    assert found.tolist() == [1, 2], "class a has no evaluation image and is still class 0"
    with pytest.raises(DataError, match=r"3 class folders in .*, the network test_vit has 2 outputs"):
        source.labelled(2, "test_vit")


def test_data_with_labels_of_its_own_takes_no_others():
    with pytest.raises(DataError, match="classes 'timm' are for image folders, data 'embedded' has labels of its own"):
        open_source("embedded").labelled(10, "x", "timm")


def test_the_field_of_a_trial():
    assert TrialSpec(method="minmax", classes="timm").as_dict()["classes"] == "timm"
    assert os.path.isabs(TrialSpec(method="minmax", classes="map.csv").as_dict()["classes"])
    assert "--classes" not in TrialSpec(method="minmax").command("minmax")
    assert TrialSpec(method="minmax", classes="timm").identity() == TrialSpec(method="minmax").identity()
