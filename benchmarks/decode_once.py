"""What decoding once brings: a first and a second trial on the same photographs; and what evaluating together would add.

``python benchmarks/decode_once.py --model deit_tiny_patch16_224.fb_in1k --weights FILE``

One process, everything in a folder that is removed. (1) Three trials on the 500 photographs, each in a session of its own:
the first with an empty cache of decoded images, a second stack with what the first has kept, and that stack again with
``--no-cache`` and a store of its own. Of each: seconds of the trial and, of these, seconds in which it waited for images of
either side. (2) ``--together`` finished trials of one network evaluated on ``--images`` photographs: one after the other as
it was (decoded every time), one after the other from the cache, and together in one pass over the images, which decodes
once. The trials are stood for by one quantized network that runs so often on every batch: the same arithmetic, and weights
that stay in the processor's caches, so the gain of a pass together is an upper bound. (3) The same network at several batch
sizes. The first part is in seconds, the others in processor seconds of one thread. Imports are not counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from harness.data.decoding import Decoding
from harness.data.folders import FileSource
from harness.data.image_files import StreamedSet
from harness.data.kept_set import KeptSet
from harness.data.pixel_cache import PixelCache
from harness.data.preprocessing import Preprocessing, of_model
from harness.data.sets import DataSource
from harness.data.sources import open_source
from harness.method.base import Context
from harness.method.stack import check
from harness.models.loading import load_model
from harness.quant.network.qmodel import QuantizedModel, quantizable
from harness.run.run_trial import run_trial
from harness.store.store import Store
from harness.trial.bits import Bits
from harness.trial.spec import TrialSpec

FIRST, SECOND = "minmax", "fqvit"
PARTS = ("trials", "together", "batch")
Batches = Callable[..., Iterator[tuple[Tensor, Tensor]]]


class Waited:
    """Seconds in which images were waited for."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def batches(
        self, made: Callable[..., Iterator[tuple[Tensor, Tensor]]]
    ) -> Callable[..., Iterator[tuple[Tensor, Tensor]]]:
        """The same generator of batches with a clock in front."""

        def timed(*given: object) -> Iterator[tuple[Tensor, Tensor]]:
            coming = made(*given)
            while True:
                began = time.perf_counter()
                batch = next(coming, None)
                self.seconds += time.perf_counter() - began
                if batch is None:
                    return
                yield batch

        return timed


@contextmanager
def waiting() -> Iterator[Waited]:
    """Measure within a block, wherever images are asked for."""
    waited = Waited()
    with (
        patch.object(KeptSet, "batches", waited.batches(KeptSet.batches)),
        patch.object(StreamedSet, "batches", waited.batches(StreamedSet.batches)),
    ):
        yield waited


def trials(given: argparse.Namespace, folder: Path) -> None:
    """The first, the second, and the second without what is kept."""
    ways = [("first", FIRST, {}), ("second", SECOND, {}), ("second, --no-cache", SECOND, {"no_cache": True})]
    for number, (name, method, more) in enumerate(ways):
        store = Store(folder / ("kept" if number < 2 else "alone"))  # the first two share full-precision logits
        spec = TrialSpec(method, given.model, given.weights, "photos", device="cpu", cache_dir=folder / "decoded", **more)
        with waiting() as waited:
            began = time.perf_counter()
            record, _ = run_trial(spec, store)
            seconds = time.perf_counter() - began
        share = 100 * waited.seconds / seconds
        print(f"{name:20} {method:8} {seconds:7.1f} s, images {waited.seconds:6.2f} s: {share:5.2f} %", flush=True)
        print(f"{'':20} {record['metrics']['n_correct']} of {record['metrics']['n_images']} right", flush=True)


def together(
    given: argparse.Namespace, source: DataSource, cache: PixelCache, preprocessing: Preprocessing, model: QuantizedModel
) -> None:
    """So many trials one by one without and with kept images, and in one pass, alternating."""
    plain, kept = source, source.decoded_by(Decoding(cache))
    ways = {
        "one by one, decoded each time": (plain, given.together, 1),
        "one by one, from the cache": (kept, given.together, 1),
    }
    ways["together, decoded once"] = (plain, 1, given.together)
    ways["together, from the cache"] = (kept, 1, given.together)
    evaluated(model, kept, preprocessing, given.images)  # fills the cache
    spent = dict.fromkeys(ways, 0.0)
    for _ in range(given.repeat):
        for name, (images, passes, times) in ways.items():
            began = time.process_time()
            for _ in range(passes):
                evaluated(model, images, preprocessing, given.images, times)
            spent[name] += time.process_time() - began
    for name, seconds in spent.items():
        print(f"{name:30} {seconds / given.repeat:7.2f} s", flush=True)


def evaluated(model: QuantizedModel, source: DataSource, preprocessing: Preprocessing, count: int, times: int = 1) -> None:
    """Quantized logits of so many images, as often as there are trials."""
    for images, _ in source.evaluation(count, preprocessing).batches(64):
        for _ in range(times):
            model(images)


def sizes(model: QuantizedModel, source: DataSource, preprocessing: Preprocessing, repeat: int) -> None:
    """Milliseconds an image at several batch sizes, alternating, on images that are ready."""
    images = torch.cat([batch for batch, _ in source.evaluation(64, preprocessing).batches(64)])
    spent = dict.fromkeys((8, 16, 32, 64), 0.0)
    for _ in range(repeat):
        for size in spent:
            began = time.process_time()
            for part in images.split(size):
                model(part)
            spent[size] += time.process_time() - began
    for size, seconds in spent.items():
        print(f"batch {size:4}: {1000 * seconds / repeat / len(images):6.2f} ms an image", flush=True)


@torch.inference_mode()
def network_part(given: argparse.Namespace, folder: Path) -> None:
    """What needs a quantized network and no trial."""
    torch.set_num_threads(1)
    loaded = load_model(given.model, given.weights)
    preprocessing = of_model(loaded.network, {})
    model = quantizable(loaded.network, preprocessing.input_size, loaded.name)
    source = open_source("photos")
    assert isinstance(source, FileSource)
    cache = PixelCache(folder / "decoded")
    calibration = source.calibration(16, 0, preprocessing)
    for step in check(FIRST).steps:
        step.method.apply(model, calibration, Context(Bits.parse("w8a8")))
    model.arithmetic = "integer"
    if "together" in given.parts:
        together(given, source, cache, preprocessing, model)
    if "batch" in given.parts:
        sizes(model, source.decoded_by(Decoding(cache)), preprocessing, given.repeat)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="deit_tiny_patch16_224.fb_in1k", help="timm name (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="safetensors file")
    parser.add_argument("--together", type=int, default=6, help="trials evaluated together (default: %(default)s)")
    parser.add_argument("--images", type=int, default=32, help="of each of them (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=2, help="alternating measurements (default: %(default)s)")
    parser.add_argument(
        "--parts", nargs="+", default=["trials", "together", "batch"], choices=["trials", "together", "batch"]
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="decode-once-") as name:
        if "trials" in given.parts:
            trials(given, Path(name))
        if {"together", "batch"} & set(given.parts):
            network_part(given, Path(name))


if __name__ == "__main__":
    main()
