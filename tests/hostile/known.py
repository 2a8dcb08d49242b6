"""Inputs that are known to fail, each with its finding. An entry goes when its input behaves: the tests are strict."""

import os

import pytest

E2 = "E2: a damaged file takes a verb down"
E6 = "E6: weights of another kind are taken"
E6_NUMBERS = "E6: preprocessing that makes no sense is taken, or a bug"
E7 = "E7: links, pipes, names that are not Unicode and image bombs raise as they are; the content chooses the decoder"
E10 = "E10: paths that cannot be"
KINDS = ("int8", "uint8", "int64", "bool", "complex64", "float8_e4m3fn", "float8_e5m2")

KNOWN: dict[str, str] = {
    **{f"data {name}": E7 for name in ("large.png", "huge_number.ppm", "bomb.png", "tiff.jpg", "icon.png", "p6.ppm")},
    **{f"data {name}": E7 for name in (r"\udcff.png", "dangling.png", "loop.png", "pipe.png")},
    **{f"data mean={value}": E6_NUMBERS for value in ("nan", "1,2", "", "inf,0,0", "1e39,0,0")},
    **{f"data std={value}": E6_NUMBERS for value in ("0", "0,0,0", "nan,1,1", "-1,1,1")},
    "data crop_pct=1e-9": E6_NUMBERS,
    "data paths": E10,
    **{f"weights {how} {kind}": E6 for how in ("all", "one") for kind in KINDS},
    "weights --weights": E10,
    "verb store import": E10,
    **{f"file {kind}": E2 for kind in ("correct", "jobs", "packs")},
    "shape folder": E2,
    **{f"place {place}": E10 for place in (r"\x00", "~nouser/x", "a" * 300)},
}
# Only among the inputs of the nightly form.
KNOWN_NIGHTLY: dict[str, str] = {**{f"file {kind}": E2 for kind in ("sweep", "stop")}, "shape loop": E2, "shape pipe": E2}


def param(area, name):
    """A parameter of a test, marked when it is known to fail."""
    known = {**KNOWN, **KNOWN_NIGHTLY} if os.environ.get("HARNESS_NIGHTLY") else KNOWN
    reason = known.get(f"{area} {ascii(name)[1:-1]}")
    return pytest.param(name, marks=[pytest.mark.xfail(strict=True, reason=reason)] if reason else [], id=ascii(name)[1:-1])
