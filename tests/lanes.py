"""Which tests are fast: ``pytest -m fast`` takes under 90 s on two cores and visits every room.

By rule, so that a new test need not think of it: a test is fast unless its file, or what it asks for, is known to be slow.
``@pytest.mark.slow`` on a test that takes more than about two seconds says so where no rule does.
"""

import os

import pytest

from tests.shared import requires_images, requires_reference

# What repeats on larger networks, or for variants, what other tests show on smaller ones.
NIGHTLY = bool(os.environ.get("HARNESS_NIGHTLY"))
nightly = pytest.mark.skipif(not NIGHTLY, reason="in the nightly form: HARNESS_NIGHTLY=1")


def sparing(values, usual):
    """Values of a parameter: the usual run tries some of them, the nightly form all.

    Raises:
        ValueError: One of the usual ones is no value.
    """
    values = list(values)
    unknown = [one for one in usual if one not in values]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of the values: {values}")
    return [pytest.param(one, marks=() if one in usual else nightly) for one in values]


# Other processes, other networks, every method: seconds to minutes each.
SLOW_FILES = {
    "test_local",
    "test_slurm",
    "test_capture",
    "test_cards",
    "test_conformance",
    "test_real_network",
    "test_engines",
    "test_every_method",
    "test_every_placement",
    "test_sharing",
    "test_layerwise",
    "test_plugins",
    "test_docs",
    "test_wheel",
    "test_signals",
    "test_small_things",
    "test_on_slurm",
    "test_reach",
    "test_tampered",
}
SLOW_FOLDERS = {"hostile"}  # hundreds of inputs each
# Formulas in milliseconds, and searches or learning on the embedded network in seconds.
SLOW_WITH_A_NETWORK = {
    "test_adalog",
    "test_erq",
    "test_gptq",
    "test_memory",
    "test_network",
    "test_modifiers",
    "test_psaq",
    "test_psaqv2",
    "test_ptq4vit",
    "test_qwt",
    "test_isvit",
    "test_reconstruction",
    "test_relumlp",
    "test_released_code",
    "test_repqvit",
    "test_search",
    "test_golden",
}
NETWORK = {"model", "store", "runs"}
SLOW_FIXTURES = {"browser"}
# One or two of what the rest of a slow file repeats for every method.
FAST_PARAMETERS = {"fqvit", "minmax", "fqvit w8a8", "minmax w8a8"}


def is_slow(item: pytest.Item) -> bool:
    """Whether a collected test is left out of the fast lane."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if item.get_closest_marker("slow") or fixtures & SLOW_FIXTURES:
        return True
    if any(mark in (requires_images.mark, requires_reference.mark) for mark in item.iter_markers("skipif")):
        return True
    slow = (
        item.path.stem in SLOW_FILES
        or item.path.parent.name in SLOW_FOLDERS
        or (item.path.stem in SLOW_WITH_A_NETWORK and bool(fixtures & NETWORK))
    )
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return slow and not any(isinstance(one, str) and one in FAST_PARAMETERS for one in parameters)


def mark(items: list[pytest.Item]) -> None:
    """Give every test its lane."""
    for item in items:
        item.add_marker(pytest.mark.slow if is_slow(item) else pytest.mark.fast)
