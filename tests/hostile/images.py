"""Odd images and odd folders of images: each is made at a path, and says whether it may be read."""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image

CLASSES = ("n01440764", "n01443537")


def picture(mode="RGB", size=(40, 30)):
    """Noise."""
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 and mode != "CMYK" else (size[1], size[0])
    shape = (size[1], size[0], 4) if mode == "CMYK" else shape
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, shape, np.uint8), mode)


def encoded(form, image=None, **more):
    """The bytes of an image file."""
    buffer = io.BytesIO()
    (image or picture()).save(buffer, form, **more)
    return buffer.getvalue()


def png(width, height, data=b""):
    """A PNG file that says it is so large; with hardly any pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data or b"\0" * 64)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text)) for kind, text in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


# Content of one file: bytes, and whether the trial has to fail because of it (None: either is right).
FILES = {
    "empty.jpg": (b"", True),
    "text.jpg": (b"hello", True),
    "cut.jpg": (encoded("JPEG")[:300], True),
    "cut.png": (encoded("PNG")[:200], True),
    "bomb.png": (png(60_000, 60_000), True),
    "large.png": (png(2**31 - 1, 2**31 - 1), True),
    "nothing.png": (png(0, 0), True),
    "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", True),
    "tiff.jpg": (encoded("TIFF"), True),
    "pdf.jpg": (encoded("PDF"), True),
    "icon.png": (encoded("ICO"), True),
    "gif.png": (encoded("GIF"), None),
    "png.jpg": (encoded("PNG"), None),
    "grey.png": (encoded("PNG", picture("L")), False),
    "one_bit.png": (encoded("PNG", picture("L").convert("1")), False),
    "palette.png": (encoded("PNG", picture().convert("P")), False),
    "transparent.png": (encoded("PNG", picture("RGBA")), False),
    "grey_alpha.png": (encoded("PNG", picture("LA")), False),
    "sixteen.png": (encoded("PNG", Image.fromarray(np.full((9, 9), 60000, np.uint16))), False),
    "cmyk.jpg": (encoded("JPEG", picture("CMYK")), False),
    "animated.webp": (encoded("WEBP", save_all=True, append_images=[picture()]), False),
    "one_pixel.png": (encoded("PNG", picture(size=(1, 1))), False),
    "thin.png": (encoded("PNG", picture(size=(1, 3000))), False),
    "wide.png": (encoded("PNG", picture(size=(3000, 1))), False),
    "profile.jpg": (encoded("JPEG", icc_profile=b"nonsense" * 9), False),
    "exif.jpg": (encoded("JPEG", exif=b"Exif\0\0nonsense"), None),
    "a name\x1b[2J\n.png": (encoded("PNG"), False),
    "=1+1.png": (encoded("PNG"), False),
    "\udcff.png": (encoded("PNG"), None),
    "._hidden.jpg": (b"resource fork", None),
    ".hidden.png": (encoded("PNG"), None),
    "UPPER.PNG": (encoded("PNG"), False),
    "p6.ppm": (b"P6\n99999 99999\n255\n", True),
    "huge_number.ppm": (b"P6\n" + b"9" * 400 + b" 1\n255\n", True),
}


def write(path):
    """Put one of ``FILES`` there."""
    path.write_bytes(FILES[path.name][0])


def dangling(path):
    path.symlink_to("nowhere.png")


def loop(path):
    path.symlink_to(path.name)


def folder(path):
    path.mkdir()


def pipe(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


SHAPES = {"dangling.png": dangling, "loop.png": loop, "folder.png": folder, "pipe.png": pipe, "endless.png": endless}


def tree(root, parts=("train", "val")):
    """A folder of good images of two classes."""
    for part in parts:
        for name in CLASSES:
            (root / part / name).mkdir(parents=True)
            for number in range(3):
                shade = (number * 40, 90 + len(part), 30 if name == CLASSES[0] else 200)
                Image.new("RGB", (40, 30), shade).save(root / part / name / f"{name}_{part}_{number}.png")
    return root
