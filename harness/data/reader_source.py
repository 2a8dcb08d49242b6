"""A data set of one of timm's readers as a data source: calibration drawn from one split, the other one streamed."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from harness.data.content import Say, silent
from harness.data.hub_rows import hub_rows
from harness.data.image_file import unreadable
from harness.data.preprocessing import Preprocessing
from harness.data.reader_labels import Numbered, numbered_labels
from harness.data.rows import Row, Rows, content_of
from harness.data.sets import CalibrationSet, DataSource, EvaluationSet, draw, spaced
from harness.data.tar_rows import tar_rows
from harness.data.timm_datasets import check_library
from harness.data.torch_rows import torch_rows
from harness.errors import DataError
from harness.trial.readers import HFDS, TORCH, WDS, ReaderData

FORM = 1  # raised when a fingerprint is of something else than before: ids of trials on such data change
WORKER_THRESHOLD = 2000
OPEN: Mapping[str, Callable[[ReaderData, Say], tuple[Rows, Rows]]] = {HFDS: hub_rows, WDS: tar_rows, TORCH: torch_rows}


class ReaderSource(DataSource):
    """Two splits of a data set.

    The fingerprint covers content and labels of all evaluation images and the number of calibration images;
    ``calibration_fingerprint`` covers the content of those that are drawn. Both are the same for a data set in shards,
    in parquet, or wherever it lies.

    Args:
        asked: The data set.
        say: Gets a line of text now and then when opening takes more than a few seconds.

    Raises:
        DataError: There is no such data set or split, its library is not installed, or an image cannot be read.
    """

    def __init__(self, asked: ReaderData, say: Say = silent) -> None:
        check_library(asked)
        self.name = str(asked)
        self._calibration, self._evaluation = OPEN[asked.kind](asked, say)
        self.split = f"calibration from split {self._calibration.split}, evaluation from split {self._evaluation.split}"
        content = content_of(self._evaluation, say)
        self._evaluated = frozenset(one.tobytes() for one in content.sha256)
        rows = self._evaluation
        self._classes = Numbered.of(content.labels, rows.class_names, rows.class_count)
        self.classes = rows.class_count or int(content.labels.max()) + 1
        self._labels: Mapping[str, int] | None = None
        self._drawn: dict[tuple[int, int], dict[str, bytes]] = {}
        count = len(self._calibration)
        self.fingerprint = hashlib.sha256(f"rows, form {FORM}\0{count}\0".encode() + content.fingerprint()).hexdigest()

    @property
    def calibration_size(self) -> int:
        """Number of images of the calibration split."""
        return len(self._calibration)

    def labelled(self, outputs: int, model: str, classes: str | None = None) -> ReaderSource:
        """The same images with labels for a network, by ``harness/data/reader_labels.py``."""
        found = numbered_labels(self._classes, outputs, self.name, model, classes)
        source = copy.copy(self)
        source.classes, source._labels = outputs, found.index
        source.labels_sha256, source.labels = found.sha256, found.rule
        return source

    def calibration(self, count: int, seed: int, preprocessing: Preprocessing) -> CalibrationSet:
        """Draw images from the calibration split and decode them."""
        return CalibrationSet(self.calibration_at(draw(self.calibration_size, count, seed, self.name), preprocessing))

    def calibration_at(self, index: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Decode images of the calibration split."""
        images = RowImages(self._calibration, list(index), preprocessing)
        return torch.stack([images.read(i)[0] for i in range(len(images))])

    def content_at(self, index: Sequence[int]) -> str:
        """Hash over the content of images of the calibration split."""
        return hashlib.sha256(b"".join(self._calibration.read(i).sha256 for i in index)).hexdigest()

    def evaluation(self, limit: int | None, preprocessing: Preprocessing) -> EvaluationSet:
        """Stream images from the evaluation split."""
        index = spaced(len(self._evaluation), limit)
        return _StreamedRows(RowImages(self._evaluation, index, preprocessing, self._labels))

    def calibration_fingerprint(self, count: int, seed: int) -> str:
        """Hash over the content of the drawn images."""
        return hashlib.sha256(b"".join(self._content(count, seed).values())).hexdigest()

    def overlap(self, count: int, seed: int) -> tuple[str, ...]:
        """Drawn images whose content is that of some evaluation image; ``split[index]``."""
        return tuple(name for name, sha256 in self._content(count, seed).items() if sha256 in self._evaluated)

    def _content(self, count: int, seed: int) -> dict[str, bytes]:
        """Hashes of the drawn images by name, in the order of the draw."""
        if (count, seed) not in self._drawn:
            rows, index = self._calibration, draw(self.calibration_size, count, seed, self.name)
            self._drawn[count, seed] = {rows.name(i): rows.read(i).sha256 for i in index}
        return self._drawn[count, seed]


class RowImages(Dataset[tuple[Tensor, int] | DataError]):
    """Decodes and preprocesses images of a split.

    Args:
        rows: The split.
        index: Which of its images, in order.
        preprocessing: Of the network.
        labels: Output of the network by number of the class; None: the number itself.
    """

    def __init__(
        self, rows: Rows, index: list[int], preprocessing: Preprocessing, labels: Mapping[str, int] | None = None
    ) -> None:
        self.rows, self.index, self.labels = rows, index, labels
        self.transform = preprocessing.transform()
        self.mode = "L" if preprocessing.input_size[0] == 1 else "RGB"

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> tuple[Tensor, int] | DataError:
        """An image and its label; an error as a value, because a worker process would send it on as a traceback."""
        try:
            image, row = self.read(index)
            return image, row.label if self.labels is None else self.labels[str(row.label)]
        except DataError as error:
            return error

    def read(self, index: int) -> tuple[Tensor, Row]:
        """An image as the network's input, and as it was read.

        Raises:
            DataError: It cannot be decoded, or preprocessing leaves nothing of it.
        """
        row, name = self.rows.read(self.index[index]), self.rows.name(self.index[index])
        image = row.pixels(self.mode, name)
        try:
            return self.transform(image), row
        except ValueError as error:  # an edge of no pixels after resizing
            raise unreadable(name, error) from error


class _StreamedRows(EvaluationSet):
    """Evaluation images read and decoded while they are needed, by worker processes when there are many."""

    def __init__(self, images: RowImages) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels in fixed order."""
        workers = min(8, os.cpu_count() or 1) if len(self._images) > WORKER_THRESHOLD else 0
        for batch in DataLoader(self._images, batch_size=size, num_workers=workers, collate_fn=_collated):
            if isinstance(batch, DataError):
                raise batch
            yield batch[0], batch[1]


def _collated(items: list[tuple[Tensor, int] | DataError]) -> list[Tensor] | DataError:
    """A batch, or the first error in it."""
    error = next((item for item in items if isinstance(item, DataError)), None)
    return default_collate(items) if error is None else error
