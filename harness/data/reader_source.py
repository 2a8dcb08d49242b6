"""A data set of one of timm's readers as a data source: calibration drawn from one split, the other one streamed."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence

from harness.data.content import Say, silent
from harness.data.decoded_source import DecodedSource
from harness.data.hub_rows import hub_rows
from harness.data.preprocessing import Preprocessing
from harness.data.reader_labels import Numbered, numbered_labels
from harness.data.row_images import RowImages
from harness.data.rows import Rows, content_of
from harness.data.tar_rows import tar_rows
from harness.data.timm_datasets import check_library
from harness.data.torch_rows import torch_rows
from harness.trial.readers import HFDS, TORCH, WDS, ReaderData

FORM = 1  # raised when a fingerprint is of something else than before: ids of trials on such data change
OPEN: Mapping[str, Callable[[ReaderData, Say], tuple[Rows, Rows]]] = {HFDS: hub_rows, WDS: tar_rows, TORCH: torch_rows}


class ReaderSource(DecodedSource):
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
        self._hashes = content.digests()
        super().__init__(self._hashes)
        rows = self._evaluation
        self._classes = Numbered.of(content.labels, rows.class_names, rows.class_count)
        self.classes = rows.class_count or int(content.labels.max()) + 1
        self._labels: Mapping[str, int] | None = None
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

    def _calibration_images(self, index: Sequence[int], preprocessing: Preprocessing) -> RowImages:
        return RowImages(self._calibration, index, preprocessing)

    def _evaluation_images(self, index: Sequence[int], preprocessing: Preprocessing) -> RowImages:
        hashes = [self._hashes[i] for i in index]
        return RowImages(self._evaluation, index, preprocessing, self._labels, hashes)

    def _contents(self, index: Sequence[int]) -> Mapping[str, str]:
        """SHA-256 by ``split[index]``."""
        return {self._calibration.name(i): self._calibration.read(i).sha256.hex() for i in index}
