"""What is looked at: a finished trial's network, the images it was calibrated on, and others of the calibration side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from harness.data.sets import DataSource
from harness.data.sources import open_judged
from harness.engines.held_out import parted
from harness.errors import UsageError
from harness.quant.network.qmodel import QuantizedModel
from harness.run.reload import QuantizedNetwork, load_quantized
from harness.store.store import Store
from harness.trial.record import Record
from harness.trial.spec import DATA, FLOAT, TrialSpec

FEWEST = 2  # images of each side: a contrastive loss needs a negative
SHARE = 0.25  # of the trial's own images, where the calibration side has no others


@dataclass(frozen=True)
class Subject:
    """A network and images of the calibration side, without labels.

    Attributes:
        network: The finished trial's network.
        calibration: Images ``(n, c, h, w)`` that the trial was calibrated on.
        held_out: Images of the calibration side that no step of the trial saw, or a last share that its search did not see.
        about: In words, where ``held_out`` comes from.
    """

    network: QuantizedNetwork
    calibration: Tensor
    held_out: Tensor
    about: str

    @property
    def model(self) -> QuantizedModel:
        """The network with its quantizers."""
        return self.network.model

    @property
    def record(self) -> Record:
        """The trial."""
        return self.network.record

    @property
    def blocks(self) -> list[str]:
        """Paths of the network's blocks, in execution order."""
        return [segment.name for segment in self.model.segments if segment.is_block]


def open_subject(store: Store, record: Record, spec: TrialSpec, images: int) -> Subject:
    """Rebuild a trial's network and draw its images.

    Args:
        store: Where the trial is.
        record: The trial.
        spec: The trial on this machine: where its images and weights are, device.
        images: At most so many of each side.

    Raises:
        UsageError: The trial has no network of its own, its weights or images are not there, or too few were asked for.
    """
    if images < FEWEST:
        raise UsageError(f"{images} images asked for, expected at least {FEWEST}")
    network = load_quantized(store, record["id"], weights=spec.weights, device=spec.device)
    network.model.arithmetic = FLOAT  # pictures of one network at many scales: sums in floating point are much faster
    if spec.calib_source != DATA:
        raise UsageError(
            f"trial {record['id']} was calibrated on images that {spec.calib_source} made, and these are not kept",
            "analyze a trial that was calibrated on the data's own images",
        )
    source = open_judged(spec)
    if source.fingerprint != record["data"]["fingerprint"]:
        raise UsageError(
            f"the images in {spec.data!r} are not those of trial {record['id']}", "say where they are with --data"
        )
    own, others, about = _images(source, network, spec, images)
    device = network.model.device
    return Subject(network, own[:images].to(device), others[:images].to(device), about)


def _images(source: DataSource, network: QuantizedNetwork, spec: TrialSpec, images: int) -> tuple[Tensor, Tensor, str]:
    """A smaller draw is the beginning of a larger one: no step of the trial saw what comes behind its images."""
    spare = min(source.calibration_size - spec.calib, images)
    drawn = source.calibration(spec.calib + max(spare, 0), spec.seed, network.preprocessing).images
    if spare >= FEWEST:
        return drawn[: spec.calib], drawn[spec.calib :], f"{spare} calibration images that no step of the trial saw"
    own, others = parted(drawn, SHARE)
    if len(others) < FEWEST:
        raise UsageError(f"{spec.calib} calibration images are too few to hold some out", "analyze a trial with more")
    return own, others, f"the last {len(others)} of the trial's calibration images: a search held them out by default"


def chosen(blocks: Sequence[str], asked: str | None) -> list[str]:
    """The blocks that pictures show: the first, middle and last, ``all``, or those of the numbers that were given.

    Raises:
        UsageError: A number is none of a block.
    """
    last = len(blocks) - 1
    if asked is None:
        return [blocks[place] for place in sorted({0, last // 2, last})] if blocks else []
    if asked == "all":
        return list(blocks)
    try:
        places = [int(part) for part in asked.split(",")]
    except ValueError:
        raise UsageError(f"blocks {asked!r} not understood: expected all, or numbers such as 0,5,{last}") from None
    wrong = next((place for place in places if not 0 <= place <= last), None)
    if wrong is not None:
        raise UsageError(f"block {wrong} is not there: expected 0 to {last}")
    return [blocks[place] for place in dict.fromkeys(places)]
