"""Odd image files end with one error that names the file; no decoder is chosen by a file's content alone."""

import os
import struct
import zlib
from dataclasses import replace

import pytest
from PIL import Image

from harness.data import decoding
from harness.data.image_file import MAX_PIXELS, read_image
from harness.data.sources import open_source
from harness.errors import DataError
from tests.data.conftest import write_image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


def png(width, height):
    """A PNG of a few hundred bytes that says it has so many pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def text_bomb():
    """A PNG whose comment is 70 MB long when it is unpacked."""
    data = b"k\0\0" + zlib.compress(b"x" * 70_000_000)
    image = png(4, 4)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    return image[:33] + chunk + image[33:]


def gif(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "small.gif")
    return (tmp_path / "small.gif").read_bytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (EPS, "its content is none of JPEG, PNG, WEBP, BMP, PPM"),
        (gif, "its content is none of JPEG"),
        (b"no image", "its content is none of JPEG"),
        (png(10_000, 10_000), f"10000 x 10000 pixels, expected at most {MAX_PIXELS:,}"),
        (png(60_000, 60_000), f"more than {MAX_PIXELS:,} pixels"),
        (png(40, 40)[:-30], "cannot be read"),
        (b"", "is empty"),
    ],
    ids=["eps", "gif", "text", "large", "bomb", "truncated", "nothing"],
)
def test_what_is_no_small_image_of_a_known_format_is_refused(content, said, tmp_path, recwarn):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content(tmp_path) if callable(content) else content)
    with pytest.raises(DataError) as caught:
        read_image(str(path), "RGB")
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert not recwarn.list


def test_a_comment_that_unpacks_to_much_more_is_refused(tmp_path):
    path = tmp_path / "comment.png"
    path.write_bytes(text_bomb())
    with pytest.raises(DataError, match=r"comment\.png"):
        read_image(str(path), "RGB")


def test_links_pipes_and_folders_are_named(tmp_path):
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name, said in [
        ("broken.jpg", "is a symbolic link that leads nowhere"),
        ("loop.jpg", "is a symbolic link that leads nowhere"),
        ("pipe.jpg", "is no regular file"),
        ("folder.jpg", "is no regular file"),
        ("gone.jpg", "cannot be read"),
    ]:
        with pytest.raises(DataError, match=rf"{name}.*{said}"):
            read_image(str(tmp_path / name), "RGB")


def test_a_link_to_an_image_is_an_image(tmp_path):
    write_image(tmp_path / "a.png", "a")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.png")
    assert read_image(str(tmp_path / "b.jpg"), "L").size == (50, 40)


@pytest.mark.parametrize("name", ["n01440764/val_1.png", "n01443537/val_1.png"], ids=["this process", "a worker process"])
def test_a_broken_evaluation_image_is_one_line(name, sides, preprocessing_224, monkeypatch):
    monkeypatch.setattr(decoding, "worthwhile", lambda images, seconds: 1)
    root = sides()
    broken = root / "val" / name
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(DataError) as caught:
        list(open_source(str(root)).evaluation(None, preprocessing_224).batches(2))
    assert str(broken) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_of_which_resizing_leaves_nothing_is_named(sides, preprocessing_224):
    root = sides()
    for file in (root / "train").rglob("*.png"):
        write_image(file, file.name, (1, 5000))
    border = replace(preprocessing_224, crop_mode="border")
    with pytest.raises(DataError, match=r"train_\d\.png"):
        open_source(str(root)).calibration(1, 0, border)
