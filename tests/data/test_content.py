"""Images are known by what they contain: fingerprints, the cache of hashes, and images that are on both sides."""

import hashlib
import os
import shutil

import numpy as np
import pytest

from harness.data import content
from harness.data.content import ContentHashes, cache_folder
from harness.data.hash_file import Known, hash_file, read_hash_file
from harness.data.sources import open_source
from harness.embedded import assets
from harness.errors import DataError
from tests.data.conftest import LONG_AGO, write_image


def test_an_edit_of_the_same_size_is_seen(sides):
    root = sides()
    before = open_source(str(root))
    image = root / "val" / "n01440764" / "val_0.png"
    size = image.stat().st_size
    changed = bytearray(image.read_bytes())
    changed[-20] ^= 1
    image.write_bytes(changed)
    assert image.stat().st_size == size
    assert open_source(str(root)).fingerprint != before.fingerprint


def test_an_edit_of_a_drawn_training_image_is_seen(sides):
    root = sides()
    before = open_source(str(root))
    drawn = before.calibration_fingerprint(6, 0)
    image = root / "train" / "n01440764" / "train_0.png"
    changed = bytearray(image.read_bytes())
    changed[-20] ^= 1
    image.write_bytes(changed)
    after = open_source(str(root))
    assert after.fingerprint == before.fingerprint, "of the calibration side only names count"
    assert after.calibration_fingerprint(6, 0) != drawn


def test_copies_agree_wherever_they_lie(sides, tmp_path):
    root = sides()
    shutil.copytree(root, tmp_path / "copy")
    one, other = open_source(str(root)), open_source(str(tmp_path / "copy"))
    assert one.fingerprint == other.fingerprint
    assert one.calibration_fingerprint(4, 1) == other.calibration_fingerprint(4, 1)
    assert one.calibration_fingerprint(4, 1) != one.calibration_fingerprint(4, 2)


def test_files_are_read_once(sides, monkeypatch):
    root = sides()
    open_source(str(root)).calibration_fingerprint(6, 0)
    read = []
    real = hashlib.file_digest
    monkeypatch.setattr(content.hashlib, "file_digest", lambda file, name: (read.append(file.name), real(file, name))[1])
    open_source(str(root)).calibration_fingerprint(6, 0)
    assert read == []
    image = root / "val" / "n01443537" / "val_2.png"
    os.utime(image, (LONG_AGO, LONG_AGO + 1))
    open_source(str(root))
    assert read == [str(image)], "another time: read again"


def test_what_was_written_a_moment_ago_is_not_kept(sides):
    root = sides()
    (root / "val" / "n01440764" / "val_0.png").touch()
    open_source(str(root))
    assert len(kept_of(root / "val")) == 5


def kept_of(folder):
    """What the one file of the cache says of the images of a folder."""
    (kept,) = cache_folder().iterdir()
    return read_hash_file(kept, str(folder))


BODY = hashlib.sha256(b"").hexdigest()
BROKEN = [
    "",
    "[]",
    "[" * 100_000,
    '{"form": 2}',
    f'{{"form": 2, "sha256": "{BODY}", "folder": "FOLDER", "count": 3}}\n',
    "\xff",
]


@pytest.mark.parametrize("damage", BROKEN, ids=["empty", "list", "deep", "keys", "short", "bytes"])
def test_a_broken_cache_is_not_used_and_said(damage, sides, capsys):
    root = sides()
    before = open_source(str(root)).fingerprint
    (kept,) = cache_folder().iterdir()
    kept.write_text(damage.replace("FOLDER", str(root / "val")), encoding="latin-1")
    assert open_source(str(root)).fingerprint == before
    assert f"{kept} is not used" in capsys.readouterr().err
    assert len(kept_of(root / "val")) == 6


def test_the_file_of_hashes_keeps_any_name_and_belongs_to_one_folder(tmp_path):
    known = {os.fsdecode(b"7/\xff\n.png"): Known(3, -5, "ab" * 32), "8/ü.png": Known(2**40, 2**62, "01" * 32)}
    (tmp_path / "one").write_bytes(hash_file("/images", known))
    assert read_hash_file(tmp_path / "one", "/images") == known
    with pytest.raises(ValueError, match="another folder"):
        read_hash_file(tmp_path / "one", "/others")
    content = bytearray((tmp_path / "one").read_bytes())
    content[-1] ^= 1
    (tmp_path / "one").write_bytes(content)
    with pytest.raises(ValueError, match="not what was written"):
        read_hash_file(tmp_path / "one", "/images")


def test_a_cache_that_cannot_be_written_is_said(sides, tmp_path, capsys):
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert open_source(str(sides())).fingerprint
    assert "are not kept" in capsys.readouterr().err


def test_processes_keep_what_others_have_written(sides):
    root = sides()
    one, other = ContentHashes(root / "val"), ContentHashes(root / "val")
    one.of(["n01440764/val_0.png"])
    other.of(["n01440764/val_1.png"])
    one.of(["n01440764/val_2.png"])
    assert len(kept_of(root / "val")) == 3


def test_long_work_is_told(sides, monkeypatch):
    monkeypatch.setattr(content, "SPEAK_SECONDS", -1.0)
    monkeypatch.setattr(content, "CHUNK", 4)
    said = []
    root = sides()
    open_source(str(root), said.append)
    hashing = [one for one in said if one.startswith("hashing")]
    assert hashing == [f"hashing images of {root / 'val'}: {count} of 6" for count in (4, 6)]


def test_images_on_both_sides_are_found_by_content(sides):
    root = sides()
    assert open_source(str(root)).overlap(6, 0) == ()
    shutil.copy(root / "val" / "n01443537" / "val_1.png", root / "train" / "n01440764" / "another_name.jpg")
    source = open_source(str(root))
    assert source.overlap(7, 0) == ("n01440764/another_name.jpg",)


def test_both_sides_linked_to_one_folder(sides):
    root = sides()
    shutil.rmtree(root / "train")
    (root / "train").symlink_to(root / "val")
    assert len(open_source(str(root)).overlap(6, 0)) == 6


def test_one_tree_is_compared_too(tmp_path):
    for index in range(40):
        (tmp_path / "data" / "7").mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / "data" / "7" / f"{index}.png", str(index % 20))
    source = open_source(str(tmp_path / "data"))
    assert source.overlap(source.calibration_size, 0)


def test_only_what_is_drawn_is_read(sides):
    root = sides()
    source = open_source(str(root))
    for file in (root / "train").rglob("*.png"):
        file.write_bytes(b"")
    assert open_source(str(root)).fingerprint == source.fingerprint
    with pytest.raises(DataError, match="is empty"):
        open_source(str(root)).overlap(1, 0)


def test_the_embedded_sides_share_no_image():
    with np.load(assets.IMAGES, allow_pickle=False) as archive:
        one, other = ({image.tobytes() for image in archive[f"{side}_images"]} for side in ("calibration", "evaluation"))
    assert not one & other


def test_an_interruption_keeps_what_was_read(sides, monkeypatch):
    root, names = sides(), [f"n01440764/val_{index}.png" for index in range(3)]
    monkeypatch.setattr(content, "CHUNK", 1)
    hashes = ContentHashes(root / "val")
    real = ContentHashes._one

    def interrupted(self, name):
        if name == names[2]:
            raise KeyboardInterrupt
        return real(self, name)

    monkeypatch.setattr(ContentHashes, "_one", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hashes.of(names)
    assert kept_of(root / "val").keys() == set(names[:2])


def test_where_hashes_are_kept(monkeypatch):
    assert str(cache_folder()).endswith("cache/ptq-harness/image-hashes")
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(cache_folder()) == "/home/somebody/.cache/ptq-harness/image-hashes"
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache_folder().is_absolute()
