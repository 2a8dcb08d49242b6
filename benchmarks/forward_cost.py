"""What fake quantization and calibration cost against plain full-precision forward passes, in one run.

Prints the ratios of (1) the fake-quantized to the full-precision forward pass and (2) the calibration of the whole
network (``fqvit``, and ``fqvit+omse``) to one full-precision pass over the same images. Random images: the arithmetic
does not depend on them. The passes alternate, so that a machine that slows down slows both.

``python benchmarks/forward_cost.py [--model deit_tiny_patch16_224] [--device cpu]``
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import timm
import torch
from timm.layers import set_fused_attn

from harness.data.sets import CalibrationSet
from harness.method.base import Context
from harness.method.stack import check
from harness.quant.network.qmodel import QuantizedModel, quantizable
from harness.trial.bits import Bits


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def calibrate(model: QuantizedModel, images: torch.Tensor, stack: str) -> None:
    """Apply a stack from the start."""
    model.clear()
    for step in check(stack).steps:
        step.method.apply(model, CalibrationSet(images), Context(Bits.parse("w4a8")))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="deit_tiny_patch16_224", help="timm name; random weights (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="default: cpu")
    parser.add_argument("--images", type=int, default=128, help="calibration images (default: 128)")
    parser.add_argument("--batch", type=int, default=32, help="images per pass (default: 32)")
    parser.add_argument("--repeat", type=int, default=7, help="alternating measurements (default: 7)")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    set_fused_attn(False)
    torch.manual_seed(0)
    network = timm.create_model(arguments.model, pretrained=False).eval()
    size = network.pretrained_cfg["input_size"]
    model = quantizable(network, size, arguments.model).to(device)
    images = torch.randn(arguments.images, *size, device=device)
    batch = images[: arguments.batch]

    calibrate(model, images, "fqvit")
    model(batch)
    pairs = [
        (seconds(lambda: model.full_precision(batch), device), seconds(lambda: model(batch), device))
        for _ in range(arguments.repeat)
    ]
    plain, fake = (median(column) for column in zip(*pairs, strict=True))
    print(f"{arguments.model} on {device}, {torch.get_num_threads()} threads, {arguments.batch} images a pass, w4a8")
    print(f"full-precision forward    {plain:8.3f} s")
    print(f"fake-quantized forward    {fake:8.3f} s   ratio {median(b / a for a, b in pairs):5.2f}")
    for stack in ("fqvit", "fqvit+omse"):
        ratios = []
        for _ in range(3):
            whole = seconds(lambda: [model.full_precision(x) for x in images.split(arguments.batch)], device)
            spent = seconds(lambda name=stack: calibrate(model, images, name), device)  # type: ignore[misc]
            ratios.append(spent / whole)
        print(
            f"calibration {stack:12}  {spent:8.3f} s   ratio {median(ratios):5.2f} to a pass over {arguments.images} images"
        )


if __name__ == "__main__":
    main()
