"""Images of a split as a data set of torch: read and decoded one by one, here or in worker processes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from harness.data.image_file import unreadable
from harness.data.pixels import ToPixels
from harness.data.preprocessing import Preprocessing
from harness.data.rows import Rows
from harness.errors import DataError


class RowImages(Dataset[tuple[Tensor, int] | DataError]):
    """Decodes and preprocesses images of a split.

    Args:
        rows: The split.
        index: Which of its images, in order.
        preprocessing: Of the network.
        labels: Output of the network by number of the class; None: the number itself.
        hashes: SHA-256 of each image when the split was hashed; None where nobody knows them.
    """

    def __init__(
        self,
        rows: Rows,
        index: Sequence[int],
        preprocessing: Preprocessing,
        labels: Mapping[str, int] | None = None,
        hashes: list[str] | None = None,
    ) -> None:
        self.preprocessing = preprocessing
        self._rows, self._index, self._labels, self._hashes = rows, list(index), labels, hashes
        self._mode = "L" if preprocessing.input_size[0] == 1 else "RGB"
        self._transform: Callable[[Image.Image], Tensor] = preprocessing.transform()

    def as_pixels(self) -> RowImages:
        """The same images as uint8 pixels after the crop, not as the network's input."""
        images = copy.copy(self)
        images._transform = ToPixels(self.preprocessing)
        return images

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> tuple[Tensor, int] | DataError:
        """An image and its label; an error as a value, because a worker process would send it on as a traceback."""
        try:
            return self._read(index)
        except DataError as error:
            return error

    def label(self, index: int) -> int:
        """Of an image."""
        return self._output(self._rows.label(self._index[index]))

    def contents(self) -> list[str]:
        """SHA-256 of the images as they are now; not read again where the split knows that nothing changed."""
        if self._hashes is not None and self._rows.unchanged():
            return self._hashes
        return [self._rows.read(index).sha256.hex() for index in self._index]

    def _output(self, number: int) -> int:
        return number if self._labels is None else self._labels[str(number)]

    def _read(self, index: int) -> tuple[Tensor, int]:
        """An image and its label.

        Raises:
            DataError: It cannot be decoded, or preprocessing leaves nothing of it.
        """
        row, name = self._rows.read(self._index[index]), self._rows.name(self._index[index])
        image = row.pixels(self._mode, name)
        try:
            return self._transform(image), self._output(row.label)
        except ValueError as error:  # an edge of no pixels after resizing
            raise unreadable(name, error) from error
