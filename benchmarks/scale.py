"""Measures what ``docs/scale.md`` rests on; ``scale_page.py`` writes the page from it.

``python benchmarks/scale.py networks`` counts operations and parameters of the papers' 19 networks (no weights needed).
``... trial --weights FILE`` runs six stacks on DeiT-T and 16 photographs: seconds an image, passes.
``... sizes --weights FILE`` writes the quantizers of these stacks.
``... calls`` counts the calls of two trials of one process that look up, make or remove something on a disk (needs strace).
``... store --trials 10000`` makes a store of that size and looks at it with ``plan``, ``status``, ``resume`` and ``report``.
Each adds its part to ``benchmarks/scale.json``; a page made of some parts only is refused.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.data.preprocessing import of_model
from harness.data.sources import open_source
from harness.machine.measure import cpu_name
from harness.method.base import Context
from harness.method.stack import check
from harness.models.cards import cards, preprocessing_overrides
from harness.models.loading import load_model
from harness.quant.network.qmodel import quantizable
from harness.quant.network.state import save_state
from harness.run.run_trial import run_trial
from harness.store.store import Store
from harness.trial.bits import Bits
from harness.trial.spec import TrialSpec

FACTS = Path(__file__).with_name("scale.json")
DEIT = "deit_tiny_patch16_224.fb_in1k"
SEARCH = "fqvit+omse+biascorr+evolq(passes=1)"
STACKS = ("minmax", "fqvit", "fqvit+omse", "fqvit+omse+biascorr", SEARCH, "repqvit")
IMAGES = 16
MARK = "/mark-of-the-measurement-"
CALLS = """
import os
from pathlib import Path
from harness.run.run_trial import run_trial
from harness.run.session import Session
from harness.store.store import Store
from harness.trial.bits import Bits
from harness.trial.spec import TrialSpec
import sys, timm, torch
def mark(name):
    os.path.exists("{mark}" + name)
store, session = Store(Path(sys.argv[1])), Session()
for number, method in enumerate(("minmax", "percentile")):
    mark("trial" + str(number))
    spec = TrialSpec(method, "test_vit", Path(sys.argv[2]), "photos", device="cpu", calib=16)
    record, _ = run_trial(spec, store, session=session)
    assert record["status"] == "done", record
mark("end")
"""


def networks() -> dict[str, Any]:
    """Operations, parameters, blocks and pixels of every card's network except the embedded one."""
    found: dict[str, Any] = {}
    for name, card in sorted(cards().items()):
        if "pico" in name:
            continue
        with torch.device("meta"):
            network = timm.create_model(name, pretrained=False).eval()
            preprocessing = of_model(network, preprocessing_overrides(name, {"recipe": "paper"}))
            counter = FlopCounterMode(display=False)
            with counter, torch.inference_mode():
                network(torch.empty(1, *preprocessing.input_size))
        facts = {"family": card.family, "flops": counter.get_total_flops(), "blocks": card.expected.blocks}
        pixels = {key: value for key, value in preprocessing.as_dict().items() if key not in ("mean", "std")}
        parameters = sum(one.numel() for one in network.parameters())
        found[name] = {
            **facts,
            "parameters": parameters,
            "pixels": json.dumps(pixels),
            "input": list(preprocessing.input_size),
        }
        print(f"{name:45} {facts['flops'] / 1e9:7.2f} GFLOP", flush=True)
    return found


def trial(weights: Path) -> dict[str, Any]:
    """Costs and files of the stacks on one network."""
    steps: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name))
        for stack in STACKS:
            spec = TrialSpec(
                stack, DEIT, weights, "photos", calib=IMAGES, eval_limit=64, device="cpu", cache_dir=Path(name) / "x"
            )
            record, _ = run_trial(spec, store)
            assert record["status"] == "done", record
            for stage in record["stages"]:
                each = {"seconds": stage["seconds"] / IMAGES, "passes": stage["forward_passes"]}
                steps.setdefault(stage["name"], each)
            print(stack, record["seconds"], flush=True)
        evaluation = record["stages"][-1]  # full precision was computed by the first of the trials
        full = evaluation["shared_seconds"] / record["metrics"]["n_images"]
        quantized = evaluation["seconds"] / record["metrics"]["n_images"] - full
        steps.pop("evaluate")
        length = (store.folder(record["id"]) / "record.json").stat().st_size
        facts = {"cpu": cpu_name(), "threads": torch.get_num_threads(), "load": os.getloadavg()[0], "images": IMAGES}
    return {**facts, "full": full, "quantized": quantized, "steps": steps, "record": length, "network": DEIT}


@torch.inference_mode()
def sizes(weights: Path) -> dict[str, Any]:
    """Bytes of the quantizers' file behind each stack, on two images: a search moves scales and adds none."""
    loaded = load_model(DEIT, weights)
    preprocessing = of_model(loaded.network, {})
    images = open_source("photos").calibration(2, 0, preprocessing)
    model = quantizable(loaded.network, preprocessing.input_size, loaded.name)
    found = {}
    for stack in [one for one in STACKS if one != SEARCH]:
        model.clear()
        for step in check(stack).steps:
            step.method.apply(model, images, Context(Bits.parse("w4a8")))
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "x.safetensors"
            save_state(model, path)
            found[stack] = path.stat().st_size
        print(stack, found[stack], flush=True)
    return found


def calls() -> dict[str, Any]:
    """File calls of a process that runs two trials, by place, for its start, the first and the second trial."""
    with tempfile.TemporaryDirectory() as name:
        from safetensors.torch import save_file

        folder = Path(name)
        torch.manual_seed(0)
        save_file(timm.create_model("test_vit", pretrained=False).state_dict(), folder / "w.safetensors")
        command = ["strace", "-f", "-qq", "-e", "trace=%file,getdents64", "-o", str(folder / "trace")]
        command += [sys.executable, "-c", CALLS.format(mark=MARK), str(folder / "store"), str(folder / "w.safetensors")]
        subprocess.run(command, check=True, env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")})
        return {part: dict(counts) for part, counts in _counted(folder).items()}


def _counted(folder: Path) -> dict[str, Counter[str]]:
    """Calls of a trace by part of the process and place of the path."""
    found: dict[str, Counter[str]] = {"start": Counter()}
    part = "start"
    photos = str(Path(__file__).resolve().parents[1] / "harness" / "data" / "photos")
    places = {str(folder / "store"): "store", str(folder / "cache"): "cache", photos: "images"}
    for line in (folder / "trace").read_text(errors="replace").splitlines():
        path = re.search(r'"([^"]*)"', line)
        if path is not None and path[1].startswith(MARK):
            part = path[1].removeprefix(MARK)
            found[part] = Counter()
        elif path is not None:
            found[part][next((what for place, what in places.items() if path[1].startswith(place)), "code and system")] += 1
    return found


def store(count: int) -> dict[str, Any]:
    """Seconds and megabytes of commands over a store of so many trials."""
    from benchmarks.many_trials import IMPORTS, MAIN, done, grid, measured

    rows: dict[str, Any] = {}

    def told(name: str, code: str, *words: str) -> str:
        began = time.perf_counter()
        busy, megabytes, output = measured(code, *words)
        # A child's peak is at least that of this process, which has torch loaded: many_trials.py measures memory.
        rows[name] = {"seconds": time.perf_counter() - began, "cpu": busy, "megabytes": None}
        print(f"{name:20} {rows[name]['seconds']:7.1f} s {busy:7.1f} CPU s {megabytes:7.0f} MB", flush=True)
        return output

    with tempfile.TemporaryDirectory() as name:
        place = ["--store", name, "--quiet"]
        told("import", IMPORTS)
        plan = json.loads(told("plan, nothing done", MAIN, "plan", *grid(count), *place, "--json"))
        began = time.perf_counter()
        done(Path(name), plan["trials"])
        print(f"made in {time.perf_counter() - began:.1f} s", flush=True)
        told("plan, all done", MAIN, "plan", *grid(count), *place)
        told("resume, all done", MAIN, "resume", *place)
        told("status", MAIN, "status", "--store", name)
        told("report, first", MAIN, "report", *place)
        told("report, again", MAIN, "report", *place)
        sizes = [path.stat().st_size for path in Path(name).rglob("*") if path.is_file()]
    return {"trials": len(plan["trials"]), "files": len(sizes), "bytes": sum(sizes), "rows": rows}


def keep(part: Mapping[str, Any]) -> None:
    """Add a part to what is known."""
    known = json.loads(FACTS.read_text(encoding="utf-8")) if FACTS.exists() else {}
    for name, value in part.items():
        known[name] = {**known.get(name, {}), **value} if name == "stores" else value
    FACTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["networks", "trial", "sizes", "calls", "store"])
    parser.add_argument("--weights", type=Path, help="of DeiT-T")
    parser.add_argument("--trials", type=int, default=10_000, help="of the store (default: %(default)s)")
    given = parser.parse_args()
    if given.part == "networks":
        keep({"networks": networks()})
    elif given.part == "trial":
        keep({"trial": trial(given.weights)})
    elif given.part == "sizes":
        keep({"sizes": sizes(given.weights)})
    elif given.part == "calls":
        keep({"calls": calls()})
    else:
        keep({"stores": {str(given.trials): store(given.trials)}})


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
