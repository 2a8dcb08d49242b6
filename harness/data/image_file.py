"""One image file to pixels: which formats are read, how large they may be, and errors that name the file."""

from __future__ import annotations

import io
import os
import stat
import warnings

from PIL import Image, UnidentifiedImageError

from harness.errors import DataError

# Pillow looks at the content, not at the name: without a list an EPS called .jpg would reach Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM")
MAX_BYTES = 2**30  # of a file: the largest image below, not compressed, is a quarter of it
MAX_PIXELS = 2**30 // 12  # 89 million: a quarter of a GiB as RGB, and where Pillow itself begins to warn


def read_image(path: str, mode: str) -> Image.Image:
    """Decode an image file.

    Args:
        path: The file.
        mode: Pillow's mode: ``RGB`` or ``L``.

    Raises:
        DataError: It is no regular file, in none of ``FORMATS``, larger than ``MAX_PIXELS``, truncated or otherwise broken.
    """
    check_regular(path)
    return _decoded(path, path, mode)


def decode_image(content: bytes, mode: str, name: str) -> Image.Image:
    """Decode the bytes of an image that is not a file of its own; the limits are those of ``read_image``.

    Args:
        content: What a file would hold.
        mode: Pillow's mode: ``RGB`` or ``L``.
        name: What a message calls it.

    Raises:
        DataError: As ``read_image``.
    """
    if not 0 < len(content) <= MAX_BYTES:
        raise DataError(f"image {name!r} has {len(content):,} bytes, expected 1 to {MAX_BYTES:,}")
    return _decoded(io.BytesIO(content), name, mode)


def _decoded(file: str | io.BytesIO, name: str, mode: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is the same and says more
            with Image.open(file, formats=FORMATS) as image:
                _check_pixels(name, image.size)
                return image.convert(mode)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # decoders raise nearly anything on broken files
        raise unreadable(name, error) from error


def check_regular(path: str) -> os.stat_result:
    """Size and times of a file that holds something; reading a pipe instead would wait for ever.

    Raises:
        DataError: It is a link that leads nowhere, no regular file, empty, or larger than ``MAX_BYTES``.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        where = "is a symbolic link that leads nowhere" if os.path.islink(path) else "cannot be read"
        raise DataError(f"image {path!r} {where}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"image {path!r} is no regular file")
    if found.st_size == 0:
        raise DataError(f"image {path!r} is empty: 0 bytes")
    if found.st_size > MAX_BYTES:
        raise DataError(f"image {path!r} has {found.st_size:,} bytes, expected at most {MAX_BYTES:,}")
    return found


def unreadable(path: str, error: Exception) -> DataError:
    """The error of a file that cannot be decoded."""
    if isinstance(error, UnidentifiedImageError):
        reason = f"its content is none of {', '.join(FORMATS)}"
    elif isinstance(error, Image.DecompressionBombError):
        reason = f"it has more than {MAX_PIXELS:,} pixels"
    else:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
    return DataError(f"image {path!r} cannot be read: {reason}")


def _check_pixels(path: str, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise DataError(f"image {path!r} has {width} x {height} pixels, expected at most {MAX_PIXELS:,} in all")
