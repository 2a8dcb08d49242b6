"""What integer products cost and what they change, against float products of the same quantized network, in one run.

Prints (1) the forward pass in either arithmetic against full precision, alternating; (2) the distance of the network to
itself: between both arithmetics, and within each when oneDNN is switched off, with another number of threads and at another
batch; (3) with ``--search`` one Evol-Q search in either. Times are processor seconds of one thread.

``python benchmarks/arithmetic.py --model deit_tiny_patch16_224.fb_in1k --weights FILE [--bits w8a8] [--search]``
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded", help="timm name (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="safetensors file")
    parser.add_argument("--data", default="", help="images (default: embedded, or photos)")
    parser.add_argument("--stack", default="minmax", help="default: %(default)s")
    parser.add_argument("--bits", default="w8a8", help="default: %(default)s")
    parser.add_argument("--images", type=int, default=32, help="calibration images, also one batch (default: 32)")
    parser.add_argument("--repeat", type=int, default=7, help="alternating measurements (default: 7)")
    parser.add_argument("--search", action="store_true", help="also an Evol-Q search in either arithmetic")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load_model(arguments.model, arguments.weights)
    preprocessing = of_model(loaded.network, {})
    model = quantizable(loaded.network, preprocessing.input_size, loaded.name)
    source = open_source(arguments.data or ("embedded" if arguments.model == "embedded" else "photos"))
    images = source.calibration(arguments.images, 0, preprocessing).images
    applied(model, images, arguments.stack, arguments.bits)
    ratios = forward(model, images, arguments.repeat)
    share = integer_share(arithmetic(model))
    print(f"{loaded.name}, {arguments.stack}, {arguments.bits}, {len(images)} images, one thread")
    print(f"forward against full precision: float {ratios['float']:.2f}, integer {ratios['integer']:.2f}")
    print(f"{share:.1f} % of multiply-accumulates on integers")
    for name, text in noise(model, images).items():
        print(f"{name:22} {text}")
    if arguments.search:
        spent = searched(model, images, arguments.stack, arguments.bits)
        times = spent["float"] / spent["integer"]
        print(f"search: float {spent['float']:.1f} s, integer {spent['integer']:.1f} s, {times:.2f} times")


if __name__ == "__main__":
    main()
