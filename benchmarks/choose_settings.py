"""Rank settings of a method on images that are for choosing: training side, held out, no labels.

Every candidate is applied after the same stack and calibration images, and judged by the logits of the frozen split's
held-out images (``harness/data/frozen_split.py``): ratio of signal to error in dB, and agreement with full precision. What
counts is the gain over the stack alone. Results are appended to a file, one line each; a second run goes on where the
first stopped, and two runs with ``--share 0/2`` and ``--share 1/2`` divide the work.

``python benchmarks/choose_settings.py --stack fqvit+omse+biascorr --candidates "evolq;evolq(loss=mse)" --bits w3a8``
``--csv FILE`` writes them without the notes, as docs/methods.md shows them (``python -m benchmarks.pages``).

``python benchmarks/choose_settings.py --plan benchmarks/evolq_helps.yaml --weights ../shared/weights --data FOLDER``
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from harness.data.frozen_split import FrozenSplit, frozen_split
from harness.data.preprocessing import of_model
from harness.engines.descent import FIRST_STEPS
from harness.engines.held_out import sqnr_db
from harness.method.base import Context
from harness.method.memo import Memo
from harness.method.stack import check
from harness.models.loading import load_model
from harness.quant.network.qmodel import QuantizedModel, quantizable
from harness.quant.network.state import restore, state_of
from harness.trial.bits import Bits

HALF = 0.55  # of a network runs again for a change in one of its blocks, on average
COLUMNS = ("network", "bits", "calib", "seed", "stack", "candidate", "sqnr_db", "agreement", "seconds")
ALONE = "-"  # the candidate that adds nothing


@dataclass(frozen=True)
class Point:
    """One measurement: a candidate after a stack."""

    stage: str
    network: str
    bits: str
    calib: int
    seed: int
    stack: str
    candidate: str

    @property
    def key(self) -> str:
        """What makes it the same measurement, whatever stage asks for it."""
        return json.dumps([self.network, self.bits, self.calib, self.seed, self.stack, self.candidate])


class Bench:
    """Networks, images and calibrated starts, each made once.

    Args:
        weights: Folder of safetensors files.
        data: Folder with ``train/``.
    """

    def __init__(self, weights: Path, data: str) -> None:
        self.weights, self.data = weights, data
        self.memo = Memo()
        self.start: tuple[Any, ...] = ()
        self.state: Any = None
        self.reference: dict[str, list[torch.Tensor]] = {}

    @cache  # noqa: B019 (one bench per process)
    def network(self, name: str) -> tuple[QuantizedModel, FrozenSplit]:
        """The network and its images."""
        embedded = name == "embedded"
        loaded = load_model(name, None if embedded else self.weights / f"{name}.safetensors")
        preprocessing = of_model(loaded.network, {})
        model = quantizable(loaded.network, preprocessing.input_size, loaded.name)
        split = frozen_split("embedded" if embedded else self.data, preprocessing)
        self.reference[name] = [model.full_precision(x) for x in split.held_out.split(50)]
        return model, split

    def calibrated(self, point: Point) -> QuantizedModel:
        """The network after the stack; candidates of one start come one after the other and share it."""
        model, split = self.network(point.network)
        start = (point.network, point.bits, point.calib, point.seed, point.stack)
        if start != self.start:
            model.clear()
            images = split.calibration(point.calib, point.seed)
            for step in check(point.stack).steps:
                step.method.apply(model, images, self.context(point))
            self.start, self.state = start, state_of(model)
        restore(model, *self.state)
        return model

    def context(self, point: Point) -> Context:
        """A context that shares targets and segment inputs between candidates of one start."""
        origin = f"{point.network}/{point.calib}/{point.seed}"
        prefix = f"{origin}/{point.bits}/{point.stack}"
        return Context(Bits.parse(point.bits), point.seed, memo=self.memo, origin=origin, prefix=prefix)

    def measure(self, point: Point) -> dict[str, Any]:
        """Apply the candidate and judge it."""
        model = self.calibrated(point)
        _, split = self.network(point.network)
        context, started = self.context(point), time.perf_counter()
        if point.candidate != ALONE:
            step = check(f"{point.stack}+{point.candidate}").steps[-1]
            step.method.apply(model, split.calibration(point.calib, point.seed), context)
        seconds = time.perf_counter() - started
        logits = [model(x) for x in split.held_out.split(50)]
        reference = self.reference[point.network]
        agree = sum(int((a.argmax(1) == b.argmax(1)).sum()) for a, b in zip(logits, reference, strict=True))
        notes = {name: value for name, value in context.notes.items() if name not in ("tried",)}
        return {
            **asdict(point),
            "sqnr_db": round(sqnr_db(logits, reference), 4),
            "agreement": 100 * agree / len(split.held_out),
            "seconds": round(seconds, 1),
            "notes": notes,
        }


def points_of(plan: list[dict[str, Any]]) -> list[Point]:
    """All points of a plan's stages in order, each once; the stack alone before its candidates."""
    found: dict[str, Point] = {}
    for stage in plan:
        axes = ("networks", "bits", "calib", "seeds", "stacks")
        for network, bits, calib, seed, stack in itertools.product(*(stage[axis] for axis in axes)):
            for candidate in (ALONE, *stage["candidates"]):
                point = Point(stage["stage"], network, bits, calib, seed, stack, candidate)
                found.setdefault(point.key, point)
    return list(found.values())


def read(path: Path) -> list[dict[str, Any]]:
    """Results so far; a line that an interrupted run left unfinished is passed over."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"passed over an unfinished line of {path}")
    return rows


def key_of(row: dict[str, Any]) -> str:
    """The key of a result."""
    return Point(**{name: row[name] for name in Point.__dataclass_fields__}).key


def tables(rows: list[dict[str, Any]]) -> Iterator[str]:
    """One table per network, width, calibration size and stack: candidates by their mean gain over the stack alone."""
    groups: dict[tuple[Any, ...], dict[str, dict[int, dict[str, Any]]]] = {}
    for row in rows:
        group = (row["network"], row["bits"], row["calib"], row["stack"])
        groups.setdefault(group, {}).setdefault(row["candidate"], {})[row["seed"]] = row
    for group, by_candidate in groups.items():
        alone = by_candidate.get(ALONE, {})
        yield f"\n{group[0]}  {group[1]}  {group[2]} images  {group[3]}"
        for seed, row in alone.items():
            yield f"  alone, seed {seed}: {row['sqnr_db']:.2f} dB, agreement {row['agreement']:.1f} %"
        yield f"  {'candidate':62} {'gain dB':>9} {'± sd':>6} {'agree':>7} {'n':>2} {'seconds':>8}"
        lines = [line for name, seeds in by_candidate.items() if name != ALONE for line in _line(name, seeds, alone)]
        yield from (text for _, text in sorted(lines, reverse=True))


def _line(name: str, seeds: dict[int, dict[str, Any]], alone: dict[int, dict[str, Any]]) -> Iterator[tuple[float, str]]:
    paired = [(row, alone[seed]) for seed, row in seeds.items() if seed in alone]
    if not paired:
        return
    gains = [row["sqnr_db"] - other["sqnr_db"] for row, other in paired]
    agree = statistics.fmean(row["agreement"] - other["agreement"] for row, other in paired)
    deviation = f"{statistics.stdev(gains):.2f}" if len(gains) > 1 else "-"
    seconds = statistics.median(row["seconds"] for row, _ in paired)
    mean = statistics.fmean(gains)
    yield mean, f"  {name:62} {mean:+9.3f} {deviation:>6} {agree:+7.2f} {len(gains):>2} {seconds:>8.0f}"


def estimate(points: list[Point], bench: Bench) -> Iterator[str]:
    """Seconds per stage, from the speed of the quantized network on 20 images and what a search of each kind runs."""
    speeds: dict[str, float] = {}
    spent: dict[str, float] = {}
    for point in points:
        if point.network not in speeds:
            model = bench.calibrated(point)
            images = bench.network(point.network)[1].held_out[:20]
            model(images)
            started = time.perf_counter()
            model(images)
            speeds[point.network] = len(images) / (time.perf_counter() - started)
        model, split = bench.network(point.network)
        images = len(split.held_out) + (_searched(model, point) if point.candidate != ALONE else 4 * point.calib)
        spent[point.stage] = spent.get(point.stage, 0.0) + images / speeds[point.network]
    yield from (f"{name:40} {seconds / 3600:6.2f} h on {torch.get_num_threads()} threads" for name, seconds in spent.items())
    yield f"{'all':40} {sum(spent.values()) / 3600:6.2f} h; images per second: {speeds}"


def _searched(model: QuantizedModel, point: Point) -> float:
    """Images through the whole network in a search: half of it on average for each child, judgement or gradient step."""
    config = check(f"{point.stack}+{point.candidate}").steps[-1].method.config
    held, runs = getattr(config, "held_out", 0.0), getattr(config, "passes", 1) * sum(s.is_block for s in model.segments)
    if hasattr(config, "optimizer"):  # backward costs twice what forward does
        steps = config.steps * (runs + config.tried_units * len(FIRST_STEPS))
        return float(HALF * steps * 3 * min(config.batch, point.calib * (1 - held)))
    return float(HALF * runs * point.calib * (getattr(config, "cycles", 3) * (1 - held) + held))


def main() -> None:
    """Measure what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, help="YAML list of stages: networks, bits, calib, seeds, stacks, candidates")
    parser.add_argument("--stage", help="of the plan, this stage only")
    parser.add_argument("--networks", default="embedded", help="comma-separated; names of files in --weights")
    parser.add_argument("--bits", default="w3a8", help="comma-separated")
    parser.add_argument("--calib", default="128", help="comma-separated numbers of calibration images")
    parser.add_argument("--seeds", default="0", help="comma-separated")
    parser.add_argument("--stack", default="fqvit+omse+biascorr", help="what candidates come after")
    parser.add_argument("--candidates", default="evolq", help="separated by semicolons")
    parser.add_argument("--weights", type=Path, default=Path("../shared/weights"), help="folder of safetensors files")
    parser.add_argument("--data", default="../shared/imagenet-sample", help="folder with train/")
    parser.add_argument("--out", type=Path, default=Path("choose_settings.jsonl"), help="results so far")
    parser.add_argument("--share", default="0/1", help="which part of the starts this run does: 0/2 and 1/2 divide them")
    parser.add_argument("--estimate", action="store_true", help="say how long it would take, measure nothing")
    parser.add_argument("--csv", type=Path, help="write what is there into a file, one row per measurement")
    parser.add_argument("--table", action="store_true", help="print the tables of what is there, measure nothing")
    arguments = parser.parse_args()
    bench = Bench(arguments.weights, arguments.data)
    points = [point for point in points_of(_plan(arguments)) if arguments.stage in (None, point.stage)]
    if arguments.estimate:
        print("\n".join(estimate(points, bench)))
        return
    if not arguments.table and not arguments.csv:
        _measure(_shared(points, arguments.share), bench, arguments.out)
    wanted = {point.key for point in points}
    rows = [row for row in read(arguments.out) if key_of(row) in wanted]
    if arguments.csv:
        pd.DataFrame(rows)[list(COLUMNS)].to_csv(arguments.csv, index=False, lineterminator="\n")
    print("\n".join(tables(rows)))


def _plan(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    if arguments.plan is not None:
        plan: list[dict[str, Any]] = yaml.safe_load(arguments.plan.read_text(encoding="utf-8"))
        return plan
    numbers = {name: [int(text) for text in getattr(arguments, name).split(",")] for name in ("calib", "seeds")}
    texts = {name: getattr(arguments, name).split(",") for name in ("networks", "bits")}
    candidates = [text.strip() for text in arguments.candidates.split(";")]
    return [{"stage": "asked for", **texts, **numbers, "stacks": [arguments.stack], "candidates": candidates}]


def _shared(points: list[Point], share: str) -> list[Point]:
    """This run's part: whole starts, so that candidates share their calibration."""
    part, parts = map(int, share.split("/"))
    starts = list(dict.fromkeys((p.stage, p.network, p.bits, p.calib, p.seed, p.stack) for p in points))
    mine = {start for index, start in enumerate(starts) if index % parts == part}
    return [p for p in points if (p.stage, p.network, p.bits, p.calib, p.seed, p.stack) in mine]


def _measure(points: list[Point], bench: Bench, out: Path) -> None:
    done = {key_of(row) for row in read(out)}
    for number, point in enumerate(points, 1):
        if point.key in done:
            continue
        row = bench.measure(point)
        _append(out, json.dumps(row))
        print(f"{number}/{len(points)}  {row['sqnr_db']:.2f} dB  {row['seconds']:.0f} s  {point.key}", flush=True)


def _append(out: Path, line: str) -> None:
    """Add a line; one that an interrupted run left unfinished ends before it."""
    unfinished = out.exists() and out.stat().st_size > 0 and not out.read_bytes().endswith(b"\n")
    with out.open("a", encoding="utf-8") as handle:
        handle.write(("\n" if unfinished else "") + line + "\n")


if __name__ == "__main__":
    main()
