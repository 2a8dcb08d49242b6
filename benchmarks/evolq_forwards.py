"""Evol-Q's forward passes and seconds against the naive loop, in one run on the embedded network.

The naive loop runs the whole network for every member of every population (P x units x (K + C) passes over the
calibration images) and fake-quantizes every weight again each time. It is measured on a part of its passes, because all
of them would take minutes, and the seconds per pass are extrapolated; the ratio per pass is printed too.

``python benchmarks/evolq_forwards.py [--calib 256] [--naive-passes 20]``
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch

from harness.bits import Bits
from harness.data import CalibrationSet, open_source
from harness.data.preprocessing import of_model
from harness.method import Context
from harness.models import load_model
from harness.quant.qmodel import QuantizedModel, quantizable
from harness.stack import check
from methods import losses


def naive_pass(model: QuantizedModel, calibration: CalibrationSet, targets: list[torch.Tensor]) -> float:
    """One fitness the naive way: new quantizer objects force every weight to be quantized again."""
    loss = losses.named("infonce", temperature=3.0, normalise=True)
    for name, quantizer in model.quantizers.items():
        model.quantizers[name] = replace(quantizer)
    values = [float(loss(model(x), t)) for x, t in zip(calibration.batches(100), targets, strict=True)]
    return sum(values) / len(values)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calib", type=int, default=256, help="calibration images (default: 256)")
    parser.add_argument("--naive-passes", type=int, default=20, help="naive passes to measure (default: 20)")
    arguments = parser.parse_args()
    loaded = load_model("embedded")
    preprocessing = of_model(loaded.network, {})
    model = quantizable(loaded.network, preprocessing.input_size, loaded.name)
    calibration = open_source("embedded").calibration(arguments.calib, 0, preprocessing)
    scheme, search = check("fqvit+evolq").steps
    scheme.method.apply(model, calibration, Context(Bits.parse("w4a8")))

    targets = [model.full_precision(x) for x in calibration.batches(100)]
    naive_pass(model, calibration, targets)
    started = time.perf_counter()
    for _ in range(arguments.naive_passes):
        naive_pass(model, calibration, targets)
    naive_seconds = (time.perf_counter() - started) / arguments.naive_passes

    context, before = Context(Bits.parse("w4a8")), model.image_forwards
    started = time.perf_counter()
    search.method.apply(model, calibration, context)
    seconds = time.perf_counter() - started
    passes, naive = (model.image_forwards - before) / arguments.calib, context.notes["naive_forward_passes"]
    print(f"ours     {passes:8.1f} forward passes  {seconds:8.1f} s  ({context.notes['evaluations']} evaluations)")
    print(f"naive    {naive:8d} forward passes  {naive * naive_seconds:8.1f} s  (from {arguments.naive_passes})")
    print(f"ratio    {naive / passes:8.1f}                 {naive * naive_seconds / seconds:8.1f}")


if __name__ == "__main__":
    main()
