"""The smallest classifier of every architecture family of timm, at most 30 million parameters: writes ``families.csv``.

``python benchmarks/find_families.py`` (minutes). A family is a module of timm, or a name of ``ALSO``: other networks of such
modules. Networks that timm has for its own tests are none.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import timm
import torch

NETWORKS = Path(__file__).resolve().parent / "families.csv"
LARGEST = 30_000_000
ALSO = {
    "caformer": "caformer*",
    "coatnet": "coatnet*",
    "deit3": "deit3*",
    "gmixer": "gmixer*",
    "mixer": "mixer*",
    "mobilevitv2": "mobilevitv2*",
    "poolformer": "poolformer_*",
    "resmlp": "resmlp*",
    "vit_registers": "vit*reg*",
}


def find_networks() -> dict[str, str]:
    """The smallest classifier of every family; networks of timm's own tests are none."""
    groups = {module: timm.list_models(module=module) for module in timm.models.list_modules()}
    groups |= {family: timm.list_models(pattern) for family, pattern in ALSO.items()}
    found = {}
    for family, names in sorted(groups.items()):
        sizes = [(size, name) for name in names if not name.startswith("test_") and (size := _size(name)) <= LARGEST]
        if sizes:
            found[family] = min(sizes)[1]
    return found


def _size(name: str) -> int:
    """Parameters; more than any limit for what has no classifier."""
    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False)
    return sum(p.numel() for p in network.parameters()) if getattr(network, "num_classes", 0) else sys.maxsize


def main() -> None:
    """Look and write."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    NETWORKS.write_text("family,model\n" + "".join(f"{family},{name}\n" for family, name in find_networks().items()))


if __name__ == "__main__":
    main()
