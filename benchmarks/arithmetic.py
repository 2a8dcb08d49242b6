"""What integer products cost and what they change, against float products of the same quantized network, in one run.

Prints (1) the forward pass in either arithmetic against full precision, alternating; (2) the distance of the network to
itself: between both arithmetics, and within each when oneDNN is switched off, with another number of threads and at another
batch; (3) with ``--search`` one Evol-Q search in either. Times are processor seconds of one thread.

``python -m benchmarks.arithmetic --model deit_tiny_patch16_224.fb_in1k --weights FILE [--bits w8a8] [--search]``; without a
file of weights they are random. Lines go to ``benchmarks/arithmetic.csv``; ``python -m benchmarks.pages`` writes them into
docs/speed.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from benchmarks.deployed import weights_of
from benchmarks.pages.lines import append
from harness.data.preprocessing import of_model
from harness.data.sets import CalibrationSet
from harness.data.sources import open_source
from harness.method.base import Context
from harness.method.stack import check
from harness.models.loading import load_model
from harness.quant.network.arithmetic_report import arithmetic, integer_share
from harness.quant.network.qmodel import QuantizedModel, quantizable
from harness.trial.bits import Bits

SEARCH = "evolq(passes=1,cycles=1)"
CSV = Path(__file__).resolve().parent / "arithmetic.csv"
NOISE = tuple(f"{name}, {change}" for name in ("float", "integer") for change in ("oneDNN off", "batch 7", "two threads"))
COLUMNS = (
    "network",
    "weights",
    "stack",
    "bits",
    "images",
    "float",
    "integer",
    "share",
    *NOISE,
    "integer against float",
    "search",
)


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def applied(model: QuantizedModel, images: torch.Tensor, stack: str, bits: str) -> None:
    """Apply the steps of a stack to what is there."""
    for step in check(stack).steps:
        step.method.apply(model, CalibrationSet(images), Context(Bits.parse(bits)))


def forward(model: QuantizedModel, batch: torch.Tensor, repeat: int) -> dict[str, float]:
    """Median ratio to full precision of either arithmetic."""
    rows = []
    for _ in range(repeat + 1):  # the first fills caches
        spent = {"full": seconds(lambda: model.full_precision(batch))}
        for name in ("float", "integer"):
            model.arithmetic = name
            spent[name] = seconds(lambda: model(batch))
        rows.append(spent)
    return {name: median(row[name] / row["full"] for row in rows[1:]) for name in ("float", "integer")}


def searched(model: QuantizedModel, images: torch.Tensor, stack: str, bits: str) -> dict[str, float]:
    """Processor seconds of one search on top of a stack in either arithmetic."""
    *before, search = check(f"{stack}+{SEARCH}").steps
    calibration, found = CalibrationSet(images), {}
    for name in ("float", "integer"):
        model.clear()
        model.arithmetic = name
        for step in before:
            step.method.apply(model, calibration, Context(Bits.parse(bits)))
        found[name] = seconds(lambda: search.method.apply(model, calibration, Context(Bits.parse(bits))))
    return found


def apart(one: torch.Tensor, other: torch.Tensor) -> str:
    """Agreement and ratio of signal to difference, or that all bytes are equal."""
    if torch.equal(one, other):
        return "equal to the byte"
    ratio = 10 * torch.log10(one.double().square().sum() / (one.double() - other.double()).square().sum())
    return f"{100 * (one.argmax(1) == other.argmax(1)).double().mean():.1f} % of labels, {ratio:.1f} dB"


def noise(model: QuantizedModel, images: torch.Tensor) -> dict[str, str]:
    """How far the network is from itself."""
    found, logits = {}, {}
    for name in ("float", "integer"):
        model.arithmetic = name
        torch.set_num_threads(1)
        plain = logits[name] = model(images)
        with torch.backends.mkldnn.flags(enabled=False):
            found[f"{name}, oneDNN off"] = apart(plain, model(images))
        found[f"{name}, batch 7"] = apart(plain, torch.cat([model(part) for part in images.split(7)]))
        torch.set_num_threads(2)
        found[f"{name}, two threads"] = apart(plain, model(images))
        torch.set_num_threads(1)
    return {**found, "integer against float": apart(logits["integer"], logits["float"])}


def measured(given: argparse.Namespace, folder: Path) -> dict[str, object]:
    """One line: a network, a stack, bits."""
    weights, kind = (given.weights, "real") if given.weights else weights_of(given.model, given.known, folder)
    loaded = load_model(given.model, weights)
    preprocessing = of_model(loaded.network, {})
    model = quantizable(loaded.network, preprocessing.input_size, loaded.name)
    source = open_source(given.data or ("embedded" if given.model == "embedded" else "photos"))
    images = source.calibration(given.images, 0, preprocessing).images
    applied(model, images, given.stack, given.bits)
    row: dict[str, object] = {"network": given.model, "weights": kind, "stack": given.stack, "bits": given.bits}
    row |= {"images": len(images), **{name: round(ratio, 2) for name, ratio in forward(model, images, given.repeat).items()}}
    row["share"] = round(integer_share(arithmetic(model)), 1)  # of what ran last, on integers
    row |= noise(model, images)
    if given.search:
        spent = searched(model, images, given.stack, given.bits)
        row["search"] = round(spent["float"] / spent["integer"], 2)
    return row


def main() -> None:
    """Measure, print and append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded", help="timm name (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="safetensors file")
    parser.add_argument("--known", type=Path, default=Path("weights"), help="folder with NETWORK.safetensors")
    parser.add_argument("--data", default="", help="images (default: embedded, or photos)")
    parser.add_argument("--stack", default="minmax", help="default: %(default)s")
    parser.add_argument("--bits", default="w8a8", help="default: %(default)s")
    parser.add_argument("--images", type=int, default=32, help="calibration images, also one batch (default: 32)")
    parser.add_argument("--repeat", type=int, default=7, help="alternating measurements (default: 7)")
    parser.add_argument("--search", action="store_true", help="also an Evol-Q search in either arithmetic")
    parser.add_argument("--csv", type=Path, default=CSV, help="lines are appended here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        row = measured(given, Path(folder))
    print("\n".join(f"{name:22} {value}" for name, value in row.items()))
    append(given.csv, COLUMNS, row)


if __name__ == "__main__":
    main()
