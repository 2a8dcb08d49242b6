"""Peak memory of calibration and of a search's cached inputs, against model and calibration size and the budget.

Each case runs in a process of its own: ``fqvit`` at w4a8, then the inputs of every segment and one evaluation of the
loss, as a search in reverse order holds them. Random weights and images.

``python benchmarks/peak_memory.py [--models deit_tiny_patch16_224 ...] [--images 32 128] [--memory auto 200MB]``
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

DEFAULT = ("deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "deit_small_patch16_224", "deit_base_patch16_224")


def case(name: str, images: int, memory: str) -> None:
    """Run one case and print its line."""
    import timm
    import torch
    from timm.layers import set_fused_attn

    from harness.data.sets import CalibrationSet
    from harness.engines.losses import mse
    from harness.engines.scale_search import Objective
    from harness.machine.memory import Budget
    from harness.method.base import Context
    from harness.method.stack import check
    from harness.quant.network.qmodel import quantizable
    from harness.text import parse_size
    from harness.trial.bits import Bits

    set_fused_attn(False)
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False).eval()
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    model = quantizable(network, network.pretrained_cfg["input_size"], name)
    calibration = CalibrationSet(torch.randn(images, *network.pretrained_cfg["input_size"]))
    started = time.perf_counter()
    context = Context(Bits.parse("w4a8"), budget=Budget(parse_size(memory)))
    check("fqvit").steps[0].method.apply(model, calibration, context)
    calibrated = _peak()
    objective = Objective(model, list(calibration.batches(32)), mse, "true_fp", context)
    last = len(model.segments) - 1
    objective.inputs(last)
    objective.value(0)
    spilled = context.budget.spilled_bytes
    print(
        f"{name:32} {weights / 1e6:8.0f} {images:7d} {memory:>8} {calibrated / 1e6:12.0f} {_peak() / 1e6:9.0f} "
        f"{spilled / 1e6:9.0f} {time.perf_counter() - started:7.0f}",
        flush=True,
    )


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=DEFAULT, help="timm names")
    parser.add_argument("--images", nargs="+", type=int, default=(32, 128), help="calibration images")
    parser.add_argument("--memory", nargs="+", default=("auto", "100MB"), help="budgets for segment inputs")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        name, images, memory = arguments.case
        case(name, int(images), memory)
        return
    print(f"{'model':32} {'MB':>8} {'images':>7} {'budget':>8} {'calibrated':>12} {'search':>9} {'spilled':>9} {'s':>7}")
    for name in arguments.models:
        for images in arguments.images:
            for memory in arguments.memory:
                subprocess.run([sys.executable, __file__, "--case", name, str(images), memory], check=True)


if __name__ == "__main__":
    main()
