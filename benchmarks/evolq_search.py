"""Evol-Q's search against the paper's loop, the released code's, and the machine's floor, in one run.

The naive loop runs the whole network for every member of every population (P x units x (K + C) passes over the
calibration images) and fake-quantizes every weight again each time. It is measured on a part of its passes, because all
of them would take too long, and extrapolated. The floor is (candidates x images x operations of the part that is run
again) / the machine's matrix throughput, which is measured with one large product in float32.

``python benchmarks/evolq_search.py [--model embedded|deit_tiny_patch16_224] [--images 256] [--passes 10] [--device cpu]``
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import timm
import torch
from timm.layers import set_fused_attn

from harness.data.preprocessing import of_model
from harness.data.sets import CalibrationSet
from harness.data.sources import open_source
from harness.engines import losses
from harness.engines.scale_search import units_of
from harness.method.base import Context
from harness.method.stack import check
from harness.models.loading import load_model
from harness.quant.network.qmodel import QuantizedModel, quantizable
from harness.trial.bits import Bits


def naive_pass(model: QuantizedModel, batches: list[torch.Tensor], targets: list[torch.Tensor]) -> float:
    """One fitness the naive way: new quantizer objects force every weight to be quantized again."""
    loss = losses.named("infonce", temperature=3.0, normalise=True)
    for name, quantizer in model.quantizers.items():
        model.quantizers[name] = replace(quantizer)
    values = [float(loss(model(x), t)) for x, t in zip(batches, targets, strict=True)]
    return sum(values) / len(values)


def throughput(device: torch.device, size: int = 2048, repeat: int = 10) -> float:
    """Operations per second of a float32 matrix product."""
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    best = float("inf")
    for _ in range(repeat):
        started = clock(device)
        a @ b
        best = min(best, clock(device) - started)
    return 2 * size**3 / best


def clock(device: torch.device) -> float:
    """Seconds, when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def prepared(name: str, images: int, device: torch.device) -> tuple[QuantizedModel, CalibrationSet]:
    """The network (random weights, unless embedded) and calibration images."""
    if name == "embedded":
        loaded = load_model("embedded")
        preprocessing = of_model(loaded.network, {})
        model = quantizable(loaded.network, preprocessing.input_size, loaded.name)
        drawn = open_source("embedded").calibration(images, 0, preprocessing).images
    else:
        set_fused_attn(False)
        torch.manual_seed(0)
        network = timm.create_model(name, pretrained=False).eval()
        model = quantizable(network, network.pretrained_cfg["input_size"], name)
        drawn = torch.randn(images, *network.pretrained_cfg["input_size"])
    return model.to(device), CalibrationSet(drawn.to(device))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded", help="embedded, or a timm name with random weights")
    parser.add_argument("--images", type=int, default=256, help="calibration images (default: 256)")
    parser.add_argument("--passes", type=int, default=10, help="P (default: 10)")
    parser.add_argument("--naive-passes", type=int, default=20, help="naive passes to measure (default: 20)")
    parser.add_argument("--device", default="cpu", help="default: cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    model, calibration = prepared(arguments.model, arguments.images, device)
    scheme, search = check(f"fqvit+evolq(passes={arguments.passes})").steps
    scheme.method.apply(model, calibration, Context(Bits.parse("w4a8")))

    batches = list(calibration.batches(100))
    targets = [model.full_precision(x) for x in batches]
    naive_pass(model, batches, targets)
    started = clock(device)
    for _ in range(arguments.naive_passes):
        naive_pass(model, batches, targets)
    naive_seconds = (clock(device) - started) / arguments.naive_passes

    context, before = Context(Bits.parse("w4a8")), model.image_forwards
    started = clock(device)
    search.method.apply(model, calibration, context)
    seconds = clock(device) - started
    passes, naive = (model.image_forwards - before) / arguments.images, context.notes["naive_forward_passes"]
    evaluations = context.notes["evaluations"]
    print(f"{arguments.model}, {arguments.images} images, P={arguments.passes}, {device}, {torch.get_num_threads()} threads")
    print(f"ours     {passes:8.1f} forward passes  {seconds:8.1f} s  ({evaluations} evaluations)")
    print(f"naive    {naive:8d} forward passes  {naive * naive_seconds:8.1f} s  (from {arguments.naive_passes} passes)")
    released = context.notes["release_forward_passes"]
    print(f"released {released:8d} forward passes  {released * naive_seconds:8.1f} s  (its loop scores the copies once)")
    print(f"ratio    {naive / passes:8.1f}                 {naive * naive_seconds / seconds:8.1f}  to the naive loop")
    print(
        f"ratio    {released / passes:8.1f}                 {released * naive_seconds / seconds:8.1f}  to the released loop"
    )
    print(
        f"one evaluation: {seconds / evaluations:.3f} s against {naive_seconds:.3f} s, ratio "
        f"{naive_seconds * evaluations / seconds:.1f}"
    )
    units = units_of(model, "attention_weights")
    macs = sum(sum(segment.macs for segment in model.segments[unit.segment :]) for unit in units) / len(units)
    speed = throughput(device)
    floor = evaluations * arguments.images * 2 * macs / speed
    print(f"floor    {floor:.1f} s at {speed / 1e12:.2f} Tflop/s in float32: {100 * floor / seconds:.0f} % of it reached")


if __name__ == "__main__":
    main()
