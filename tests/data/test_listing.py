"""Which files of a folder count, by a rule that docs/data.md states; everything else is named."""

import os

import pytest

from harness.data.names import Names
from harness.data.sources import open_source
from harness.errors import DataError, HarnessError
from tests.data.conftest import write_image


def test_what_systems_leave_behind_is_not_data(sides, preprocessing_224):
    root = sides()
    before = open_source(str(root))
    for folder in (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".hidden", "lost+found"):
        for place in (root / "val", root / "val" / "n01440764", root / "train"):
            (place / folder).mkdir()
            (place / folder / "x.jpg").write_bytes(b"")
    for name in ("Thumbs.db", ".DS_Store", "._val_1.png", "desktop.ini", "notes.txt"):
        (root / "val" / "n01440764" / name).write_bytes(b"x")
        (root / "val" / name).write_bytes(b"x")
    (root / "val" / "n01440764" / "folder.jpg").mkdir()
    after = open_source(str(root))
    assert after.fingerprint == before.fingerprint
    assert len(after.evaluation(None, preprocessing_224)) == 6


@pytest.mark.parametrize("name", ["broken.jpg", "loop.jpg"])
def test_links_that_lead_nowhere_are_named(name, sides):
    root = sides()
    target = root / "gone" if name == "broken.jpg" else root / "val" / "n01440764" / name
    (root / "val" / "n01440764" / name).symlink_to(target)
    with pytest.raises(DataError, match=rf"{name}' is a symbolic link that leads nowhere"):
        open_source(str(root))


def test_a_class_folder_that_leads_nowhere_is_named(sides):
    root = sides()
    (root / "val" / "n01443537_").symlink_to(root / "gone")
    with pytest.raises(DataError, match="n01443537_' is a symbolic link that leads nowhere"):
        open_source(str(root))


def test_a_pipe_is_named_instead_of_waiting_for_it(sides):
    root = sides()
    os.mkfifo(root / "train" / "n01440764" / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png' is no regular file"):
        open_source(str(root))


def test_an_empty_image_is_named(sides):
    root = sides()
    (root / "val" / "n01440764" / "val_0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"val_0\.png' is empty"):
        open_source(str(root))


def test_a_file_too_large_for_an_image_is_named_before_it_is_read(sides, monkeypatch):
    root = sides()
    image = root / "val" / "n01440764" / "val_0.png"
    os.truncate(image, 2**33)  # sparse
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"val_0\.png' has 8,589,934,592 bytes, expected at most 1,073,741,824"):
        open_source(str(root))


def test_names_that_are_no_utf8_or_hold_a_newline_are_names(sides, preprocessing_224):
    root = sides()
    write_image(root / "plain.png", "odd")
    for name in (b"not\xffutf8.png", b"two\nlines.png", b"tab\t'quote\".png"):
        os.rename(root / "plain.png", os.path.join(os.fsencode(root), b"val", b"n01440764", name))
        write_image(root / "plain.png", repr(name))
    (root / "plain.png").unlink()
    source = open_source(str(root))
    images, _ = next(iter(source.evaluation(None, preprocessing_224).batches(50)))
    assert len(images) == 9
    assert open_source(str(root)).fingerprint == source.fingerprint, "also from the cache"


def test_a_broken_file_of_such_a_name_is_one_printable_line(sides, preprocessing_224):
    root = sides()
    with open(os.path.join(os.fsencode(root), b"val", b"n01440764", b"a\n\xff\x1b[31m.png"), "wb") as file:
        file.write(b"no image")
    with pytest.raises(DataError) as caught:
        list(open_source(str(root)).evaluation(None, preprocessing_224).batches(50))
    assert str(caught.value).isprintable()


def test_a_data_folder_that_no_record_could_hold_is_refused(tmp_path):
    os.mkdir(os.fsencode(tmp_path) + b"/x\xff")
    with pytest.raises(DataError, match="is not UTF-8"):
        open_source(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff"))


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody-of-this-name/data", "a\nb", "x\0", "x\0/y"])
def test_places_that_cannot_be(name):
    with pytest.raises(HarnessError, match=r"does not exist|there is no such user|has a zero byte"):
        open_source(name)


def test_a_folder_that_cannot_be_listed_is_named(sides, monkeypatch):
    root = sides()
    real = os.scandir

    def refuse(path):
        if str(path).endswith("n01443537"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="n01443537' cannot be listed: Permission denied"):
        open_source(str(root))


def test_names_are_a_sequence_of_texts():
    texts = ["a/1.png", "a/2.png", "b/1.png", os.fsdecode(b"b/\xc3.png"), "c d/two\nlines.png"]
    names = Names.of(texts)
    assert list(names) == texts
    assert [names[i] for i in range(5)] == texts
    assert (names[-1], names[1:4], len(names)) == (texts[-1], texts[1:4], 5)
    assert b"".join(names.marked(b"m\0")) == b"".join(b"m\0" + os.fsencode(one) + b"\0" for one in texts)
    with pytest.raises(IndexError):
        names[5]
    assert list(Names.of([])) == [] == list(Names([("a", b"")]))
