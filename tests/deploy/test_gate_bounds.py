"""How far a product fed equal codes may be off."""

import pytest

pytest.importorskip("onnx")

from harness.deploy.gate import NotExported, check_products
from harness.deploy.parity import Parity


@pytest.mark.parametrize("row", [Parity("a", 1, 1 / 80, 80), Parity("b", 1, 0.001, 10_000), Parity("c", 0, 0.0, 5)])
def test_one_tie_among_few_elements_is_no_departure(row):
    """A classifier of ten classes fed eight images has 80 elements: one of them is more than 0.1 %."""
    check_products([row])


@pytest.mark.parametrize("row", [Parity("a", 1, 2 / 80, 80), Parity("b", 1, 0.0011, 10_000), Parity("c", 2, 1 / 80, 80)])
def test_more_is_refused_by_name(row):
    with pytest.raises(NotExported, match=f"{row.site} differs"):
        check_products([row])
