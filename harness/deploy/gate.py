"""The gate: a file is exported only when its runtime computes what the simulation says, on the trial's own images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch

from harness.data.sets import EvaluationSet, right_classes
from harness.deploy.departure import departing
from harness.deploy.kernels import Kernels, kernels
from harness.deploy.parity import Parity, parity
from harness.deploy.runtime import Session
from harness.deploy.simulated import Simulated
from harness.errors import HarnessError
from harness.machine.progress import Progress
from harness.quant.network.qmodel import QuantizedModel

PARITY_IMAGES = 8


@dataclass(frozen=True)
class Bounds:
    """What a file may differ from the simulation by.

    Attributes:
        farthest: Codes that an element of a product may be off, fed equal codes.
        differing: Share of the elements that may be off at all.
        top1_loss: Points of top-1 that may be lost where the whole paired interval lies below zero.
        sqnr_loss_db: Decibel that the distance to full precision may be worse by.
    """

    farthest: int = 1
    differing: float = 0.001
    top1_loss: float = 0.5
    sqnr_loss_db: float = 3.0


BOUNDS = Bounds()


class Interval(NamedTuple):
    """A difference of top-1 in points with its paired interval."""

    value: float
    low: float
    high: float


Paired = Callable[[np.ndarray, np.ndarray], Interval]  # of per-image correctness, second minus first


class NotExported(HarnessError):
    """A file that did not pass the gate; it was removed."""

    kind = "export"


@dataclass(frozen=True)
class Simulation:
    """What the trial measured.

    Attributes:
        correct: Per image, whether the simulation is right by top-1.
        sqnr_db: Distance of its logits to full precision; None where they are equal.
    """

    correct: np.ndarray
    sqnr_db: float | None


@dataclass(frozen=True)
class Figures:
    """What the gate measured.

    Attributes:
        runtime: Name and version.
        images: Number of evaluation images.
        top1: In the runtime, percent.
        top1_simulated: Of the simulation.
        top1_fp32: Of full precision.
        difference: Runtime minus simulation, with the paired interval.
        sqnr_db: Of the runtime's logits to full precision.
        sqnr_db_simulated: Of the simulation's.
        parity: Every product fed equal codes.
        kernels: What the runtime really runs.
        bytes: Size of the file.
    """

    runtime: str
    images: int
    top1: float
    top1_simulated: float
    top1_fp32: float
    difference: Interval
    sqnr_db: float | None
    sqnr_db_simulated: float | None
    parity: tuple[Parity, ...]
    kernels: Kernels
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the manifest; of the products' parity only the worst."""
        worst = max(self.parity, key=lambda one: (one.farthest, one.differing), default=None)
        products = {"products": len(self.parity), "worst": None if worst is None else worst._asdict()}
        return {
            **asdict(self),
            "kernels": self.kernels.counts,
            "integer_macs": self.kernels.integer_macs,
            "integer_macs_of_layers": self.kernels.integer_macs_of_layers,
            "difference": self.difference._asdict(),
            "parity": products,
            "bounds": asdict(BOUNDS),
        }


@dataclass(frozen=True)
class Judged:
    """What a file is held against.

    Attributes:
        model: The simulation.
        data: The trial's evaluation images.
        simulation: What the trial measured on them.
        paired: The difference of two results with its paired interval.
        batch: Images at a time.
        threads: Of the runtime.
        progress: Display.
    """

    model: QuantizedModel
    data: EvaluationSet
    simulation: Simulation
    paired: Paired
    batch: int
    threads: int
    progress: Progress


def passed(file: Path, graph: onnx.ModelProto, runtime: ModuleType, judged: Judged) -> Figures:
    """Run a file through its runtime.

    Args:
        file: The exported file; the runtime may write beside it.
        graph: The ONNX graph that it was made from.
        runtime: Our module of the runtime.
        judged: What it is held against.

    Raises:
        NotExported: A product departs, or the whole network does.
    """
    images = next(iter(judged.data.batches(PARITY_IMAGES)))[0]
    simulated = Simulated(judged.model, images)
    judged.progress.say("comparing products on equal codes")
    rows = parity(graph, simulated, runtime.compute)
    check_products(rows)
    figures = _figures(file, runtime, judged, rows)
    wrong = departures(figures)
    if wrong:
        where = departing(graph, simulated, runtime.compute)
        raise NotExported(f"not exported: {figures.runtime} departs from the simulation: {wrong}; {where}")
    return figures


def _figures(file: Path, runtime: ModuleType, judged: Judged, rows: Sequence[Parity]) -> Figures:
    found = kernels(judged.model, runtime.optimised_nodes(file, judged.threads))
    session = runtime.open_file(file, judged.threads)
    correct, correct_fp32, sqnr = _evaluated(session, judged)
    simulation = judged.simulation
    return Figures(
        session.version,
        len(correct),
        100 * float(correct.mean()),
        100 * float(simulation.correct.mean()),
        100 * float(correct_fp32.mean()),
        judged.paired(simulation.correct, correct),
        sqnr,
        simulation.sqnr_db,
        tuple(rows),
        found,
        sum(part.stat().st_size for part in file.parent.glob(f"{file.stem}.*")),
    )


def departures(figures: Figures) -> str:
    """What lies outside the bounds; empty for nothing."""
    found = []
    low, high = figures.difference.low, figures.difference.high
    if high < 0 and figures.difference.value < -BOUNDS.top1_loss:
        found.append(
            f"top-1 {figures.top1:.2f} % instead of {figures.top1_simulated:.2f} % "
            f"(difference {figures.difference.value:.2f}, interval {low:.2f} to {high:.2f})"
        )
    ours, theirs = figures.sqnr_db_simulated, figures.sqnr_db
    if ours is not None and theirs is not None and theirs < ours - BOUNDS.sqnr_loss_db:
        found.append(f"SQNR to full precision {theirs:.1f} dB instead of {ours:.1f} dB")
    return " and ".join(found)


def check_products(rows: Sequence[Parity]) -> None:
    """Refuse the first product that computes something else.

    Raises:
        NotExported: With its name.
    """
    for row in rows:
        off = round(row.differing * row.elements)  # a single tie is more than the share where elements are few
        if row.farthest > BOUNDS.farthest or off > max(1, BOUNDS.differing * row.elements):
            raise NotExported(
                f"not exported: fed equal codes, {row.site} differs by up to {row.farthest} codes "
                f"on {100 * row.differing:.3f} % of {row.elements:,} elements "
                f"(bounds: {BOUNDS.farthest} code, {100 * BOUNDS.differing:g} %)"
            )


@torch.inference_mode()
def _evaluated(session: Session, judged: Judged) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Correctness per image in the runtime and in full precision, and the distance between both."""
    right: list[np.ndarray] = []
    right_fp32: list[np.ndarray] = []
    signal = noise = 0.0
    with judged.progress.task(f"evaluate in {session.version}", len(judged.data)) as task:
        for images, labels in judged.data.batches(judged.batch):
            logits = torch.from_numpy(session.run(np.ascontiguousarray(images.numpy())))
            full = judged.model.full_precision(images)
            labels = right_classes(labels, full)
            right.append((logits.argmax(1) == labels).numpy())
            right_fp32.append((full.argmax(1) == labels).numpy())
            signal += float(full.double().square().sum())
            noise += float((full.double() - logits.double()).square().sum())
            task.advance(len(labels))
    sqnr = 10 * math.log10(signal / noise) if noise > 0 else None
    return np.concatenate(right), np.concatenate(right_fp32), sqnr
