"""A folder is listed once: later openings look at the times of its class folders. What is kept is never trusted."""

import hashlib
import json
import os

import pytest

from harness.data import content, folder_index, listing
from harness.data.folder_index import FolderIndex, index_folder
from harness.data.sources import open_source
from harness.errors import DataError
from tests.data.conftest import write_image


@pytest.fixture
def root(sides, monkeypatch):
    """A folder that was opened once, and whose class folders count as old enough to be kept."""
    monkeypatch.setattr(folder_index, "SETTLED_SECONDS", -1.0)
    root = sides()
    open_source(str(root))
    return root


@pytest.fixture
def scanned(monkeypatch):
    """Names of the class folders that were listed."""
    seen, real = [], listing._images
    monkeypatch.setattr(
        listing, "_images", lambda folder: (seen.append(f"{folder.parent.name}/{folder.name}"), real(folder))[1]
    )
    return seen


def by_hand(root):
    """The fingerprint as docs/data.md has it, one name after the other."""
    digest = hashlib.sha256(b"images, form 2\0")
    for side in ("train", "val"):
        for path in sorted(f"{one.parent.name}/{one.name}" for one in (root / side).rglob("*.png")):
            if side == "train":
                digest.update(b"calibration\0" + path.encode() + b"\0")
            else:
                sha256 = hashlib.sha256((root / side / path).read_bytes()).hexdigest()
                digest.update(b"evaluation\0" + path.encode() + b"\0" + sha256.encode() + b"\0")
    return digest.hexdigest()


def test_later_openings_list_nothing_and_find_the_same(root, scanned):
    assert open_source(str(root)).fingerprint == by_hand(root)
    assert scanned == []


def test_what_changed_is_listed_again_and_nothing_else(root, scanned):
    write_image(root / "train" / "n01440764" / "new.png", "new")
    (root / "val" / "n01443537" / "val_0.png").unlink()
    assert open_source(str(root)).fingerprint == by_hand(root)
    assert sorted(scanned) == ["train/n01440764", "val/n01443537"]
    (root / "train" / "n01440764" / "new.png").rename(root / "train" / "n01440764" / "other.png")
    assert open_source(str(root)).fingerprint == by_hand(root)
    assert len(scanned) == 3


def test_a_folder_whose_time_was_set_back_is_listed_again(root, scanned):
    folder = root / "train" / "n01440764"
    before = folder.stat()
    write_image(folder / "new.png", "new")
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert open_source(str(root)).fingerprint == by_hand(root)
    assert scanned == ["train/n01440764"]


def test_class_folders_come_and_go(root):
    (root / "val" / "n01484850").mkdir()
    write_image(root / "val" / "n01484850" / "x.png", "x")
    source = open_source(str(root))
    assert source.fingerprint == by_hand(root)
    assert source.class_folders == ["n01440764", "n01443537", "n01484850"]
    (root / "val" / "n01484850" / "x.png").unlink()
    (root / "val" / "n01484850").rmdir()
    assert open_source(str(root)).class_folders == ["n01440764", "n01443537"]


def test_what_was_changed_a_moment_ago_is_not_kept(sides, scanned):
    root = sides()
    open_source(str(root))
    open_source(str(root))
    assert len(scanned) == 8


def test_names_of_any_bytes(root, scanned):
    os.rename(root / "val" / "n01440764" / "val_0.png", os.path.join(os.fsencode(root), b"val/n01440764/a\xc3\n\xff.png"))
    before = open_source(str(root))
    scanned.clear()
    assert open_source(str(root)).fingerprint == before.fingerprint
    assert scanned == []


def kept(root, side="val"):
    return FolderIndex(root / side)._file


def rewritten(file, change, hashed=True):
    """Change the index as somebody would who knows how it is written."""
    line, _, body = file.read_bytes().partition(b"\n")
    head, body = change(json.loads(line), body)
    if hashed:
        head["sha256"] = hashlib.sha256(body).hexdigest()
    file.write_bytes(json.dumps(head).encode() + b"\n" + body)


def with_name(name):
    """The first file of the first class is called otherwise; everything else fits."""

    def change(head, body):
        old = body[: head["classes"][0][-1]]
        new = b"\0".join([name, *old.split(b"\0")[1:]])
        head["classes"][0][-1] = len(new)
        return head, new + body[len(old) :]

    return change


HOSTILE = {
    "a path out": with_name(b"../../../secret.png"),
    "a path down": with_name(b"sub/secret.png"),
    "the folder itself": with_name(b"."),
    "the folder above": with_name(b".."),
    "hidden": with_name(b".secret.png"),
    "no name": with_name(b""),
    "a file that is not there": with_name(b"gone.png"),
    "another form": lambda head, body: ({**head, "form": 2}, body),
    "another folder": lambda head, body: ({**head, "folder": "/elsewhere"}, body),
    "no classes": lambda head, body: ({**head, "classes": None}, body),
    "rows too short": lambda head, body: ({**head, "classes": [["n01440764", 1]]}, body),
    "lengths below zero": lambda head, body: ({**head, "classes": [[*row[:-1], -5] for row in head["classes"]]}, body),
    "lengths too large": lambda head, body: ({**head, "classes": [[*row[:-1], 10**30] for row in head["classes"]]}, body),
    "more than it says": lambda head, body: (head, body + b"\0more.png"),
    "a list": lambda head, body: ({"form": [], "folder": {}}, body),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_index_that_lies_is_named_and_not_used(root, name, capsys, scanned):
    rewritten(kept(root), HOSTILE[name])
    source = open_source(str(root))
    assert source.fingerprint == by_hand(root)
    assert all(one.count("/") == 1 and ".." not in one for one in source._evaluation.names)
    assert f"{kept(root)} is not used" in capsys.readouterr().err
    assert len(scanned) == 2
    open_source(str(root))
    assert len(scanned) == 2, "it was written anew"


BYTES = [b"", b"\n", b"{}\n", b"[]", b"[" * 100_000, b"\xff\xfe\n", b'{"form": 1}\n\0\0']


@pytest.mark.parametrize("damage", BYTES, ids=["empty", "line", "object", "list", "deep", "bytes", "keys"])
def test_a_broken_index_is_named_and_not_used(root, damage, capsys):
    kept(root).write_bytes(damage)
    assert open_source(str(root)).fingerprint == by_hand(root)
    assert f"{kept(root)} is not used" in capsys.readouterr().err


def test_a_cut_or_flipped_index_is_not_used(root, capsys):
    whole = kept(root).read_bytes()
    for damaged in (whole[:-3], whole[:-3] + b"xyz"):
        kept(root).write_bytes(damaged)
        assert open_source(str(root)).fingerprint == by_hand(root)
        assert "is not what was written" in capsys.readouterr().err


def test_the_index_of_another_folder_of_equal_times_does_not_fit(root, scanned):
    """As a copied cache: everything fits but the inodes."""
    rewritten(
        kept(root), lambda head, body: ({**head, "classes": [[r[0], r[1] + 1, *r[2:]] for r in head["classes"]]}, body)
    )
    assert open_source(str(root)).fingerprint == by_hand(root)
    assert len(scanned) == 2


def test_something_else_in_the_place_of_an_index(root):
    for make in (lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to(path)):
        kept(root).unlink()
        make(kept(root))
        assert open_source(str(root)).fingerprint == by_hand(root)
        if kept(root).is_dir() and not kept(root).is_symlink():
            kept(root).rmdir()
            kept(root).touch()


def test_an_index_that_cannot_be_written_is_said(sides, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(folder_index, "SETTLED_SECONDS", -1.0)
    (tmp_path / "cache" / "ptq-harness").mkdir(parents=True)
    index_folder().write_text("a file where a folder should be")
    assert open_source(str(sides())).fingerprint
    assert "the list of the images of" in capsys.readouterr().err


def test_a_reader_sees_all_of_it_or_what_was_before(root, monkeypatch):
    before = kept(root).read_bytes()
    (root / "val" / "n01440764" / "val_0.png").unlink()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(content.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        open_source(str(root))
    assert kept(root).read_bytes() == before
    assert len(list(index_folder().iterdir())) == 2, "nothing half-written stays"


def test_an_image_that_vanished_is_named(root):
    """A link to elsewhere whose target goes: the folder's times stay."""
    target = root / "target.png"
    write_image(target, "target")
    (root / "val" / "n01440764" / "link.png").symlink_to(target)
    open_source(str(root))
    target.unlink()
    with pytest.raises(DataError, match=r"link\.png' is a symbolic link that leads nowhere"):
        open_source(str(root))


def test_long_listing_is_told(sides, monkeypatch):
    monkeypatch.setattr(content, "SPEAK_SECONDS", -1.0)
    monkeypatch.setattr(listing, "CHUNK", 1)
    said = []
    root = sides()
    open_source(str(root), said.append)
    assert f"listing images of {root / 'val'}: 2 of 2 class folders" in said
