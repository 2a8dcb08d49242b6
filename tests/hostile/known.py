"""Inputs that are known to fail, each with its finding. An entry goes when its input behaves: the tests are strict."""

import os

import pytest

E2 = "E2: a damaged file takes a verb down"
E6 = "E6: weights of another kind are taken"
E6_NUMBERS = "E6: preprocessing that makes no sense is taken, or a bug"
E7 = "E7: links, pipes, names that are not Unicode and image bombs raise as they are; the content chooses the decoder"
E10 = "E10: paths that cannot be"
KINDS = ("int8", "uint8", "int64", "bool", "complex64", "float8_e4m3fn", "float8_e5m2")

KNOWN: dict[str, str] = {}
# Only among the inputs of the nightly form.
KNOWN_NIGHTLY: dict[str, str] = {}


def param(area, name):
    """A parameter of a test, marked when it is known to fail."""
    known = {**KNOWN, **KNOWN_NIGHTLY} if os.environ.get("HARNESS_NIGHTLY") else KNOWN
    reason = known.get(f"{area} {ascii(name)[1:-1]}")
    return pytest.param(name, marks=[pytest.mark.xfail(strict=True, reason=reason)] if reason else [], id=ascii(name)[1:-1])
