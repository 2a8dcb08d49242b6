"""Whom a reconstruction serves: errors of the class token and of all other tokens behind the last block.

The head of most vision transformers reads one token; a squared error over a block's output counts all of them alike. For
finished trials of one network and width, on calibration images that none of them drew:

    harness sweep --experiment reconstructions --model vit_tiny_patch16_224 --weights vit.safetensors --store runs
    python -m benchmarks.class_token --model vit_tiny_patch16_224 --weights vit.safetensors \
        --data imagenet --store runs

writes ``benchmarks/class_token.csv``; ``python -m benchmarks.pages`` writes the table into docs/results.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.pages.lines import write
from harness.data.sources import open_source
from harness.quant.network.qmodel import QuantizedModel
from harness.run.reload import load_quantized
from harness.store.store import Store
from harness.trial.record import Record
from harness.trial.spec import FLOAT

OUT = Path(__file__).resolve().parent / "class_token.csv"
COLUMNS = (
    "network",
    "bits",
    "stack",
    "images",
    "class_token",
    "other_tokens",
    "class_channel",
    "other_channel",
    "top1",
    "id",
)
STACKS = ("repqvit", "repqvit+", "isvit(")


def main() -> None:
    arguments = parsed()
    store = Store.default(arguments.store)
    source = open_source(arguments.data)
    rows = []
    for record in wanted(store, arguments.model, arguments.bits):
        network = load_quantized(store, record["id"], weights=arguments.weights, device="cpu")
        network.model.arithmetic = FLOAT
        drawn, count = record["calib"], arguments.images
        images = source.calibration(drawn + count, record["seed"], network.preprocessing).images[drawn:]
        row = {"network": record["model"], "bits": record["bits"], "stack": record["stack"], "id": record["id"]}
        rows.append(row | {"images": count, "top1": round(record["metrics"]["top1"], 2)} | errors(network.model, images))
        print(rows[-1])
    write(OUT, COLUMNS, sorted(rows, key=lambda row: (-row["top1"], row["stack"])))


def wanted(store: Store, model: str, bits: str) -> list[Record]:
    """Finished trials that learn, and what they begin with; weights of a file have a tag of their own."""
    return [
        record
        for record in store.records()
        if record["status"] == "done"
        and (record["model"].partition(".")[0], record["bits"]) == (model.partition(".")[0], bits)
        and (record["stack"] == STACKS[0] or (record["stack"].startswith(STACKS[1:]) and "iterations=" in record["stack"]))
    ]


@torch.no_grad()
def errors(model: QuantizedModel, images: Tensor) -> dict[str, float]:
    """Squared errors behind the last block over the squares in full precision, and the largest channel's share of these."""
    last = max(index for index, segment in enumerate(model.segments) if segment.is_block) + 1
    full, quantized = model.run_full_precision(images, 0, last), model.run(images, 0, last)
    squares, apart = full.square().sum(dim=2), (quantized - full).square().sum(dim=2)  # (images, tokens)
    return {
        "class_token": round(float(apart[:, 0].mean() / squares[:, 0].mean()), 4),
        "other_tokens": round(float(apart[:, 1:].mean() / squares[:, 1:].mean()), 4),
        "class_channel": round(_largest(full[:, :1]), 4),
        "other_channel": round(_largest(full[:, 1:]), 4),
    }


def _largest(x: Tensor) -> float:
    """Share of the squares of ``(images, tokens, channels)`` that the largest channel holds."""
    channels = x.square().sum(dim=(0, 1))
    return float(channels.max() / channels.sum())


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="<name>")
    parser.add_argument("--weights", type=Path, metavar="<file>")
    parser.add_argument("--data", required=True, metavar="<path>")
    parser.add_argument("--bits", default="w4a4", metavar="<widths>")
    parser.add_argument("--images", type=int, default=32, metavar="<n>", help="of the calibration side, drawn by no trial")
    parser.add_argument("--store", metavar="<dir>")
    return parser.parse_args()


if __name__ == "__main__":
    main()
