"""Stacks, widths, settings and overrides that are not what the grammars expect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile.generated import generated
from tests.hostile.known import param
from tests.hostile.texts import TEXTS
from tests.hostile.world import Case, settle

FAST, NIGHTLY = 12, 220
PIECES = [
    "fqvit",
    "minmax",
    "omse",
    "evolq",
    "gradopt",
    "(",
    ")",
    "+",
    ",",
    "=",
    "lis",
    "true",
    "passes",
    "-1",
    "1e9",
    " ",
    "'",
    "[",
    "]",
]
STACKS = st.lists(st.sampled_from([*PIECES, *TEXTS]), max_size=8).map("".join)
WIDTHS = st.text(alphabet="was0123456789.-+ ()W８", max_size=12) | st.sampled_from(TEXTS)
OVERRIDES = st.builds(
    lambda key, value: f"{key}={value}",
    st.sampled_from(["method", "bits", "seed", "launcher.pack", "x", "+x", "~seed"]),
    st.sampled_from(TEXTS),
)
FILTERS = st.lists(
    st.sampled_from(["stack", "bits", "=", ",", "fqvit", "w8a8", "seed", "0", "(", ")", *TEXTS]), max_size=6
).map("".join)
WORDS = {
    "stack": lambda text: ["run", "--method", text, "--calib", "-1", "--quiet"],
    "widths": lambda text: ["run", "--method", "minmax", "--bits", text, "--calib", "-1", "--quiet"],
    "override": lambda text: ["plan", "--method", "minmax", "--calib", "4", "--quiet", text],
    "filter": lambda text: ["compare", text, "fqvit"],
    "grid": lambda text: ["plan", "--method", text, "--calib", "4", "--quiet"],
    "change": lambda text: ["resume", "--quiet", "--set", text],
}
OF = {"stack": STACKS, "widths": WIDTHS, "override": OVERRIDES, "filter": FILTERS, "grid": STACKS, "change": OVERRIDES}


@pytest.mark.parametrize("what", [param("grammar", what) for what in OF])
def test_texts_of_a_grammar(world, nightly, what):
    failures = []

    @generated(NIGHTLY if nightly else FAST)
    @given(OF[what])
    def each(text):
        failures.extend(world.attempt("grammar", Case(f"{what}", WORDS[what](text))))

    each()
    settle(failures)
