"""What every method must keep to, for the placements that are no scheme's default; searches in the nightly form."""

from harness.testing import MethodKit
from tests.lanes import NIGHTLY

SEARCHES = (
    "easyquant(sites=deploy,steps=6,images=4)",
    "ptq4vit(sites=deploy,steps=6,rounds=1,images=4)",
    "rankaware(sites=deploy,steps=6,rounds=1,images=4)",
    "adalog(sites=deploy,candidates=32,steps=1,rounds=1,images=4)",
)


class TestEveryPlacement(MethodKit):
    methods = (
        "minmax(sites=operands)",
        "minmax(sites=deploy)",
        "percentile(sites=deploy,attention=true,activations=symmetric)",
        "repqvit(sites=deploy,images=8)",
        *(SEARCHES if NIGHTLY else ()),
    )
