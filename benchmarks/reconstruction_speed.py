"""Steps per second of block reconstruction, engine against the straightforward loop, block by block in one run.

Both learn the same roundings and scales of a block on the same images with the same fake quantization. The straightforward
loop runs both networks from the images to the block in every step, for the block's input and target; the engine keeps
them. The measurements of a block alternate, so that a machine that slows down slows both.

``python benchmarks/reconstruction_speed.py [--weights FILE] [--device cuda] [--precision bfloat16]``
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median

import timm
import torch
from timm.layers import set_fused_attn
from torch import Tensor

from harness.baselines.engines.reconstruction import block_unit
from harness.baselines.engines.reconstruction_units import ReconstructionConfig, Unit, learn
from harness.baselines.engines.switches import Switches
from harness.data.sets import CalibrationSet
from harness.engines.layerwise import SegmentInputs, Visit, walk
from harness.machine.memory import Kept
from harness.machine.progress import Task
from harness.method.base import Context
from harness.method.stack import check
from harness.models.loading import load_model
from harness.quant.network.qmodel import QuantizedModel, quantizable
from harness.trial.bits import Bits

BITS = Bits.parse("w4a4")
QDROP = Switches(inputs="mixed", drop=0.5, scale_lr=4e-5)


class Recomputed(Kept):
    """What a block reads or should give, computed anew from the images whenever it is asked for.

    Args:
        like: The same, kept.
        images: All images.
        run: One network.
        stop: The segment before which it stops.
    """

    def __init__(self, like: Kept, images: Tensor, run: Callable[[Tensor, int, int], Tensor], stop: int) -> None:
        super().__init__(like)
        self.images, self.run, self.stop = images, run, stop

    @torch.no_grad()
    def select(self, rows: Tensor) -> Tensor:
        """The rows, by a forward pass of their images."""
        return self.run(self.images[rows], 0, self.stop)


class Fixed(SegmentInputs):
    """Inputs that are recomputed, in the place of those that a walk keeps."""

    def __init__(self, by_index: dict[int, Kept]) -> None:
        self.by_index = by_index

    def __getitem__(self, index: int) -> Kept:
        return self.by_index[index]


def straightforward(model: QuantizedModel, visit: Visit, images: Tensor) -> Visit:
    """The same block on a walk that keeps nothing."""
    index, exact = visit.index, model.run_full_precision
    full = {
        index: Recomputed(visit.full, images, exact, index),
        index + 1: Recomputed(visit.targets, images, exact, index + 1),
    }
    quantized = {index: Recomputed(visit.quantized, images, model.run, index)}
    return replace(visit, networks={"full": Fixed(full), "quantized": Fixed(quantized)})


def seconds(unit: Unit, config: ReconstructionConfig, device: torch.device) -> float:
    """Wall time of one step."""
    started = time.perf_counter()
    learn(unit, config, Task())
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / unit.steps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="deit_tiny_patch16_224", help="timm name (default: %(default)s)")
    parser.add_argument("--weights", default=None, help="a checkpoint; without one random weights, which take as long")
    parser.add_argument("--device", default="cpu", help="default: cpu")
    parser.add_argument("--images", type=int, default=64, help="calibration images (default: 64)")
    parser.add_argument("--batch", type=int, default=32, help="images per step (default: 32)")
    parser.add_argument("--steps", type=int, default=2, help="steps per measurement (default: 2)")
    parser.add_argument("--repeat", type=int, default=2, help="alternating measurements of a block (default: 2)")
    parser.add_argument("--every", type=int, default=1, help="measure every so many blocks (default: 1)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="default: float32")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    set_fused_attn(False)
    torch.manual_seed(0)

    model = calibrated(arguments.model, arguments.weights, device)
    images = torch.randn(arguments.images, *model.chain.captured.input_size, device=device)
    config = ReconstructionConfig(arguments.steps, arguments.batch, precision=arguments.precision)
    context = Context(BITS)
    blocks = [index for index, segment in enumerate(model.segments) if "blocks" in segment.name][:: arguments.every]
    print(
        f"{arguments.model} on {device}, {torch.get_num_threads()} threads, batch {arguments.batch}, {arguments.precision}"
    )
    print("block          engine  straightforward   steps/s   ratio")
    ratios = []
    for visit in walk(model, images, context, batch=arguments.batch, full=True, quantized=True):
        if visit.index in blocks:
            ratios.append(measured(model, visit, images, context, config, arguments.repeat))
    print(f"mean ratio {fmean(ratios):.2f}, least {min(ratios):.2f}")


def measured(
    model: QuantizedModel, visit: Visit, images: Tensor, context: Context, config: ReconstructionConfig, repeat: int
) -> float:
    """Print one block's steps per second; how many times as many the engine makes."""
    visits = visit, straightforward(model, visit, images)
    units = [block_unit(model, one, images, context, config, QDROP) for one in visits]
    pairs = [[seconds(unit, config, images.device) for unit in units] for _ in range(repeat)]
    engine, plain = (median(column) for column in zip(*pairs, strict=True))
    ratio = median(b / a for a, b in pairs)
    print(f"{visit.segment.name:12s} {1 / engine:8.3f}  {1 / plain:15.3f}   steps/s  {ratio:6.2f}", flush=True)
    return ratio


def calibrated(name: str, weights: str | None, device: torch.device) -> QuantizedModel:
    """The network with quantizers at what products read, calibrated on a few random images."""
    network = (
        timm.create_model(name, pretrained=False).eval() if weights is None else load_model(name, Path(weights)).network
    )
    size = network.pretrained_cfg["input_size"]
    model = quantizable(network, size, name).to(device)
    (step,) = check("minmax(sites=operands)").steps
    step.method.apply(model, CalibrationSet(torch.randn(8, *size, device=device)), Context(BITS))
    return model


if __name__ == "__main__":
    main()
