"""What becomes of stacks when they are exported: a line for each, exported or refused with the reason.

``python -m benchmarks.deployed --weights FOLDER --data FOLDER`` runs every stack on every network, exports it for ONNX
Runtime, and measures its latency beside float32. Networks without a file in the folder of weights get perturbed random
weights: their products, kernels and times are real, their accuracy means nothing and is left out. Lines that
``benchmarks/deployed.csv`` has are not measured again; ``python -m benchmarks.pages`` writes them into docs/deploy.md.

Latency wants a quiet machine, the rest does not: ``--timing none`` leaves it out beside other work, and ``--timing only``
adds it later to the lines that lack it, from the files in the store.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file

from benchmarks.pages.lines import append, read, write

ROOT = Path(__file__).resolve().parents[1]
CSV = ROOT / "benchmarks" / "deployed.csv"
NETWORKS = (
    "embedded",
    "deit_tiny_patch16_224.fb_in1k",
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "swin_tiny_patch4_window7_224.ms_in1k",
    "resnet18.tv_in1k",
    "levit_128s.fb_dist_in1k",
)
STACKS = (
    "minmax",
    "minmax(sites=deploy)",
    "minmax(sites=deploy,attention=true)",
    "minmax(sites=deploy)+omse+gptq",
    "minmax+omse+biascorr",
    "fqvit",
    "fqvit(integer_layernorm=off)",
    "repqvit",
    "repqvit(sites=deploy)+gptq",
    "adalog(candidates=32,steps=1,rounds=1,images=4)",
)
BITS = ("w8a8", "w4a8")
COLUMNS = (
    *("network", "weights", "stack", "bits", "outcome", "reason", "images", "top1_fp32", "top1", "top1_runtime"),
    *("difference", "low", "high", "sqnr_db", "sqnr_db_runtime", "bytes", "integer_macs", "integer_macs_of_layers"),
    *("ratio_1", "ratio_1_low", "ratio_1_high", "ratio_32", "ratio_32_low", "ratio_32_high"),
    *("quiet", "runtime", "cpu", "id"),
)
SPREAD = 0.05  # of the perturbation, as a share of each tensor's deviation: layers that start at zero do not stay there

Row = dict[str, Any]


def command(*words: str) -> tuple[int, dict[str, Any], str]:
    """Run the harness in a process of its own; exit code, JSON and what it said."""
    ended = subprocess.run([sys.executable, "-m", "harness", *words, "--json"], capture_output=True, text=True, check=False)
    start = ended.stdout.find("{")
    facts: dict[str, Any] = json.loads(ended.stdout[start:]) if start >= 0 else {}
    return ended.returncode, facts, ended.stderr.strip()


def weights_of(network: str, folder: Path, made: Path) -> tuple[Path | None, str]:
    """File of a network's weights, and what they are: ``real``, or ``random`` where one had to be made."""
    if network == "embedded":
        return None, "real"
    known = folder / f"{network}.safetensors"
    if known.is_file():
        return known, "real"
    path = made / f"{network}.safetensors"
    if not path.is_file():
        made.mkdir(parents=True, exist_ok=True)
        save_file(perturbed(network), path)
    return path, "random"


def perturbed(network: str) -> dict[str, torch.Tensor]:
    """Random weights of a network, none of them constant."""
    torch.manual_seed(0)
    state = timm.create_model(network, pretrained=False).state_dict()
    for name, value in state.items():
        if value.is_floating_point() and not name.endswith("running_var"):
            state[name] = value + SPREAD * (value.std() if value.numel() > 1 and value.std() > 0 else 1) * torch.randn_like(
                value
            )
    return {name: value.contiguous() for name, value in state.items()}


def place_of(network: str, given: argparse.Namespace) -> tuple[str, list[str]]:
    """What a network's weights are, and the options that name its files, images and store."""
    weights, kind = weights_of(network, given.weights, given.store / "weights")
    files = [] if weights is None else ["--weights", str(weights)]
    data = [] if network == "embedded" else ["--data", str(given.data)]
    return kind, [*files, *data, "--store", str(given.store), "--quiet"]


def measured(network: str, stack: str, bits: str, given: argparse.Namespace) -> Row:
    """One line: run, export, time."""
    kind, where = place_of(network, given)
    row: Row = {"network": network, "weights": kind, "stack": stack, "bits": bits}
    words = ["--method", stack, "--model", network, "--bits", bits, "--calib", str(given.calib), *where]
    code, record, said = command("run", *words, "--eval-limit", str(given.images))
    if code != 0 or record.get("status") != "done":
        return {**row, "outcome": "no trial", "reason": _reason(record, said)}
    row |= {"id": record["id"], "images": record["metrics"]["n_images"], **_accuracy(record["metrics"], kind)}
    out = exported_to(given, row)
    code, exported, said = command("export", record["id"], "--out", str(out), *where)
    if out.is_dir():
        row |= _gate(json.loads((out / "manifest.json").read_text(encoding="utf-8"))["gate"], kind)
        row |= {"outcome": "exported"}
        return row if given.timing == "none" else row | timed(row, given)
    return {
        **row,
        "outcome": "refused" if exported.get("kind") == "incompatible" else "failed",
        "reason": _reason(exported, said),
    }


def _reason(facts: Mapping[str, Any], said: str) -> str:
    error = facts.get("error") or {}
    text = facts.get("reason") or error.get("message") or said or "?"
    return " ".join(str(text).split())


def _accuracy(metrics: Mapping[str, Any], kind: str) -> Row:
    found = {"sqnr_db": metrics["logit_sqnr_db"]}
    return {**found, "top1": metrics["top1"], "top1_fp32": metrics["top1_fp32"]} if kind == "real" else found


def _gate(gate: Mapping[str, Any], kind: str) -> Row:
    found = {"sqnr_db_runtime": gate["sqnr_db"], "bytes": gate["bytes"], "runtime": gate["runtime"]}
    found |= {name: gate[name] for name in ("integer_macs", "integer_macs_of_layers")}
    difference = gate["difference"]
    real = {
        "top1_runtime": gate["top1"],
        "difference": difference["value"],
        "low": difference["low"],
        "high": difference["high"],
    }
    return {**found, **real} if kind == "real" else found


def exported_to(given: argparse.Namespace, row: Row) -> Path:
    """Folder of a trial's exported file."""
    return Path(given.store / "exported" / str(row["id"]))


def timed(row: Row, given: argparse.Namespace) -> Row:
    """The part of an exported line that a clock measures."""
    _, where = place_of(row["network"], given)
    file = exported_to(given, row) / "model.onnx"
    code, found, said = command("latency", str(file), "--rounds", str(given.rounds), *where)
    if code != 0:
        return {"reason": f"not timed: {_reason(found, said)}"}
    times: Row = {"quiet": found["quiet"], "cpu": found["computer"]["cpu"]}
    for one in found["batches"]:
        start = f"ratio_{one['batch']}"
        times |= {start: one["ratio"], f"{start}_low": one["low"], f"{start}_high": one["high"]}
    return times


def missing(given: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Lines that the file does not have yet."""
    known = {(row["network"], row["stack"], row["bits"]) for row in read(given.csv)}
    for network in given.networks.split(","):
        for stack in STACKS:
            for bits in given.bits.split(","):
                if (network, stack, bits) not in known:
                    yield network, stack, bits


def add_times(given: argparse.Namespace) -> None:
    """Latency of exported lines that lack it and whose files are in the store."""
    rows: list[Row] = list(read(given.csv))
    for row in rows:
        if row["outcome"] == "exported" and not row["ratio_1"] and exported_to(given, row).is_dir():
            row |= timed(row, given)
            write(given.csv, COLUMNS, rows)
            print(f"{row['ratio_1'] or row['reason']} {row['network']} {row['stack']} {row['bits']}", flush=True)


def main() -> None:
    """Measure and append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="folder with NETWORK.safetensors")
    parser.add_argument("--data", type=Path, required=True, help="labelled images of ImageNet's classes")
    parser.add_argument("--store", type=Path, default=Path("runs/deployed"), help="records and exported files")
    parser.add_argument("--csv", type=Path, default=CSV, help="lines are appended here")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--bits", default=",".join(BITS))
    parser.add_argument("--calib", type=int, default=32)
    parser.add_argument("--images", type=int, default=200, help="evaluation images (default: 200)")
    parser.add_argument("--rounds", type=int, default=40, help="of latency (default: 40)")
    parser.add_argument("--timing", choices=("with", "none", "only"), default="with", help="latency (default: with)")
    given = parser.parse_args()
    if given.timing == "only":
        add_times(given)
        return
    for network, stack, bits in missing(given):
        row = measured(network, stack, bits, given)
        append(given.csv, COLUMNS, row)
        print(f"{row['outcome']:9} {network} {stack} {bits}", flush=True)


if __name__ == "__main__":
    main()
