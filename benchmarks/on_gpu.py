"""What a GPU changes, in one run and one table: conformance, forward, calibration, Evol-Q's search, one block of BRECQ.

Parts, in this order:

* ``conformance``: the same quantizers, calibrated on the CPU, give logits on both; SQNR and equal labels between them.
  Beside it the noise floor: the CPU against itself with oneDNN off and another batch size. Nearer no other machine is.
* ``forward``: quantized against full-precision forward passes in interleaved rounds.
* ``calibration``: ``fqvit`` and ``fqvit+omse`` against a full-precision pass over the same images.
* ``search``: the whole search of ``evolq`` behind ``fqvit`` at w4a8, by default with 1,000 images and P = 10.
* ``block``: the roundings of one block by ``brecq``, by default in the paper's number of steps.

Products run in floating point and, beside it, on integer codes (``--arithmetic integer`` of trials).
Weights are random without ``--weights``, images without ``--data``: times do not depend on them, conformance does.

``python benchmarks/on_gpu.py --weights deit_tiny.safetensors --data imagenet --out on_gpu.csv`` (meant for ten minutes)
``python benchmarks/on_gpu.py --device cpu --model embedded --quick`` (the whole path in seconds, to see that it works)
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import timm
import torch
from tabulate import tabulate
from timm.layers import set_fused_attn
from torch import Tensor

from harness.data.preprocessing import of_model
from harness.data.sets import CalibrationSet
from harness.data.sources import open_source
from harness.deploy.timing import compare
from harness.machine.measure import cpu_name, load_per_core
from harness.method.base import Context
from harness.method.stack import check
from harness.models.cards import block_pattern
from harness.models.loading import load_model
from harness.quant.network.qmodel import QuantizedModel, quantizable
from harness.trial.bits import Bits
from harness.trial.spec import FLOAT, INTEGER

CPU = torch.device("cpu")
EMBEDDED = "embedded"
STACKS, WIDTHS = ("minmax", "fqvit"), ("w8a8", "w4a8")
ARITHMETICS = (FLOAT, INTEGER)


class Row(NamedTuple):
    """One figure."""

    part: str
    case: str
    figure: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    compared: int = 256
    calibration: int = 128
    batches: tuple[int, ...] = (1, 32, 256)
    rounds: int = 30
    search_images: int = 1000
    search: str = "evolq(passes=10)"
    block_images: int = 1024
    block: str = "brecq(scale_iterations=0)"


QUICK = Sizes(16, 8, (1, 4), 3, 8, "evolq(passes=1,cycles=1)", 8, "brecq(scale_iterations=0,iterations=2)")


@dataclass(frozen=True)
class Setup:
    """The network, its images and the device."""

    model: QuantizedModel
    images: Callable[[int], Tensor]
    device: torch.device
    sizes: Sizes

    def clock(self) -> float:
        """Seconds, when the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def calibrated(self, stack: str, bits: str, count: int, device: torch.device, arithmetic: str = FLOAT) -> Context:
        """Apply a stack from the start on some device; what its last step noted is in the context."""
        self.model.clear()
        self.model.to(device)
        self.model.arithmetic = arithmetic
        images, context = CalibrationSet(self.images(count).to(device)), Context(Bits.parse(bits))
        for step in check(stack).steps:
            context = Context(Bits.parse(bits))
            step.method.apply(self.model, images, context)
        return context


@torch.inference_mode()
def logits(model: QuantizedModel, images: Tensor, batch: int, device: torch.device) -> Tensor:
    """Quantized logits, on the CPU."""
    model.to(device)
    return torch.cat([model(part.to(device)).to(CPU) for part in images.split(batch)])


def apart(case: str, one: Tensor, other: Tensor) -> Iterator[Row]:
    """How far two runs of one network are apart; no error at all is infinitely many decibels."""
    error = float((one.double() - other.double()).square().sum())
    ratio = float(one.double().square().sum()) / error if error else math.inf
    yield Row("conformance", case, "SQNR, dB", 10 * math.log10(ratio))
    yield Row("conformance", case, "equal labels, %", 100 * float((one.argmax(1) == other.argmax(1)).double().mean()))


@contextmanager
def convolutions(*, tf32: bool) -> Iterator[None]:
    """Convolutions on a GPU with 10 bits of mantissa, which is torch's default, or with all 23."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def conformance(setup: Setup) -> Iterator[Row]:
    """The same quantizers on both devices, and on the CPU in two ways."""
    images = setup.images(setup.sizes.compared)
    for bits in WIDTHS:
        for stack in STACKS:
            setup.calibrated(stack, bits, setup.sizes.calibration, CPU)
            for arithmetic in ARITHMETICS:
                setup.model.arithmetic = arithmetic
                name = f"{stack} {bits}, {arithmetic}"
                here = logits(setup.model, images, 32, CPU)
                with torch.backends.mkldnn.flags(enabled=False):
                    yield from apart(f"{name}: noise floor of the CPU", here, logits(setup.model, images, 7, CPU))
                for tf32 in (False, True) if setup.device.type == "cuda" else (False,):
                    with convolutions(tf32=tf32):
                        there = logits(setup.model, images, 32, setup.device)
                    yield from apart(f"{name}: CPU against {setup.device.type}{', TF32' if tf32 else ''}", here, there)


@torch.inference_mode()
def forward(setup: Setup) -> Iterator[Row]:
    """Quantized against full-precision passes."""
    setup.calibrated("fqvit", "w8a8", setup.sizes.calibration, setup.device)
    for batch in setup.sizes.batches:
        images = setup.images(batch).to(setup.device)
        for arithmetic in ARITHMETICS:
            setup.model.arithmetic = arithmetic
            first, second = partial(setup.model.full_precision, images), partial(setup.model, images)
            found = compare(first, second, setup.sizes.rounds, 3, 0, setup.clock)
            case = f"fqvit w8a8, {arithmetic}, batch {batch}"
            yield Row("forward", case, "ratio to full precision", found.ratio, found.low, found.high)
            yield Row("forward", case, "images per second", batch / found.second)


def calibration(setup: Setup) -> Iterator[Row]:
    """Calibration against a full-precision pass over the same images."""
    count = setup.sizes.calibration
    images = setup.images(count).to(setup.device)

    def plain() -> None:
        with torch.inference_mode():
            for part in images.split(32):
                setup.model.full_precision(part)

    for stack in ("fqvit", "fqvit+omse"):
        apply = partial(setup.calibrated, stack, "w4a8", count, setup.device)
        found = compare(plain, apply, max(1, setup.sizes.rounds // 5), 0, 0, setup.clock)
        yield Row("calibration", f"{stack}, {count} images", "ratio to a pass", found.ratio, found.low, found.high)


def search(setup: Setup) -> Iterator[Row]:
    """The whole search of Evol-Q."""
    count, stack = setup.sizes.search_images, f"fqvit+{setup.sizes.search}"
    for arithmetic in ARITHMETICS:
        setup.calibrated("fqvit", "w4a8", count, setup.device, arithmetic)
        before, started = setup.model.image_forwards, setup.clock()
        context = Context(Bits.parse("w4a8"))
        check(stack).steps[-1].method.apply(setup.model, CalibrationSet(setup.images(count).to(setup.device)), context)
        seconds = setup.clock() - started
        case = f"{stack} w4a8, {count} images, {arithmetic}"
        yield Row("search", case, "seconds", seconds, note=f"{context.notes['evaluations']} evaluations")
        yield Row("search", case, "forward passes", (setup.model.image_forwards - before) / count)
        if setup.device.type == "cuda":
            yield Row("search", case, "peak memory, MB", torch.cuda.max_memory_allocated(setup.device) / 1e6)


def block(setup: Setup) -> Iterator[Row]:
    """The roundings of the block in the middle; the weights of the others have no quantizers then."""
    setup.calibrated("minmax", "w4a8", setup.sizes.block_images, setup.device)
    model, stack = setup.model, f"minmax+{setup.sizes.block}"
    middle = len(model.segments) // 2
    own = {operation.site.name for operation in model.quantized_weights(middle)}
    for name in set(model.weights) - own:
        model.quantizers.pop(name, None)
    images, context = CalibrationSet(setup.images(setup.sizes.block_images).to(setup.device)), Context(Bits.parse("w4a8"))
    step, started = check(stack).steps[-1], setup.clock()
    step.method.apply(model, images, context)
    case = f"{stack}, {setup.sizes.block_images} images, segment {model.segments[middle].name}"
    yield Row("block", case, "seconds", setup.clock() - started, note=f"{step.method.config.iterations} steps")


PARTS: dict[str, Callable[[Setup], Iterator[Row]]] = {
    "conformance": conformance, "forward": forward, "calibration": calibration, "search": search, "block": block,
}  # fmt: skip


def prepared(arguments: argparse.Namespace, device: torch.device) -> Setup:
    """Load, or make up, the network and its images."""
    sizes = QUICK if arguments.quick else Sizes()
    set_fused_attn(False)
    torch.manual_seed(0)
    if arguments.model == EMBEDDED or arguments.weights is not None:
        network = load_model(arguments.model, arguments.weights).network
    else:
        network = timm.create_model(arguments.model, pretrained=False).eval()
    preprocessing = of_model(network, {})
    model = quantizable(network, preprocessing.input_size, arguments.model, block_pattern(arguments.model))
    data = arguments.data or (EMBEDDED if arguments.model == EMBEDDED else None)
    if data is None:
        size = preprocessing.input_size
        return Setup(model, lambda count: torch.randn(count, *size, generator=torch.manual_seed(0)), device, sizes)
    source = open_source(data)
    return Setup(model, lambda count: source.calibration(count, 0, preprocessing).images, device, sizes)


def measured(setup: Setup, names: list[str], limit: float) -> list[Row]:
    """All figures; a part that would begin after the time is over is left out, which its row says."""
    started, rows = time.perf_counter(), []
    for name in names:
        spent = time.perf_counter() - started
        if spent > limit:
            rows.append(Row(name, "", "left out", math.nan, note=f"{spent:.0f} s were over, --limit {limit:g}"))
            continue
        print(f"{spent:6.0f} s  {name}", file=sys.stderr, flush=True)
        rows += PARTS[name](setup)
    return rows


def table(rows: list[Row]) -> str:
    """The figures as Markdown."""
    intervals = ["" if one.low is None else f"{one.low:.4g} to {one.high:.4g}" for one in rows]
    lines = [[*one[:3], f"{one.value:.4g}", interval, one.note] for one, interval in zip(rows, intervals, strict=True)]
    headers = ["part", "case", "figure", "value", "95 %", "note"]
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def options() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="deit_tiny_patch16_224", help="timm name, or embedded (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="safetensors file in timm's naming (default: random weights)")
    parser.add_argument("--data", help="folder of images, or embedded (default: random images)")
    parser.add_argument("--device", default="cuda", help="default: cuda")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts (default: all)")
    parser.add_argument("--limit", type=float, default=480, help="seconds after which no part begins (default: 480)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything works")
    parser.add_argument("--out", type=Path, help="also write the figures there as CSV")
    return parser


def main() -> None:
    """Measure, print and write."""
    arguments = options().parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("error: torch finds no CUDA device here (--device cpu runs it on the processor)")
    rows = measured(prepared(arguments, device), arguments.only, arguments.limit)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    threads, load = torch.get_num_threads(), load_per_core()
    weights, images = arguments.weights or "random", arguments.data or "random"
    if arguments.model == EMBEDDED:
        weights, images = EMBEDDED, arguments.data or EMBEDDED
    print(f"{arguments.model} on {name}, torch {torch.__version__}; weights {weights}, images {images}")
    print(f"CPU {cpu_name()}, {threads} threads, load per core {load}\n\n{table(rows)}")
    if arguments.out is not None:
        pd.DataFrame(rows).assign(device=name, torch=torch.__version__).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
