"""Image files as a data set of torch: decoded one by one, here or in worker processes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from harness.data.content import ContentHashes
from harness.data.decoding import Readable, decoded, onto
from harness.data.image_file import read_image, unreadable
from harness.data.listing import Side
from harness.data.pixels import ToPixels
from harness.data.preprocessing import Preprocessing
from harness.data.sets import EvaluationSet
from harness.errors import DataError


class ImageFiles(Dataset[tuple[Tensor, int] | DataError]):
    """Decodes and preprocesses image files.

    Args:
        side: Where they are.
        index: Which ones.
        labels: By class folder; None for images without labels.
        preprocessing: Of the network.
    """

    def __init__(self, side: Side, index: list[int], labels: Mapping[str, int] | None, preprocessing: Preprocessing) -> None:
        self.side = side
        self.index = index
        self.preprocessing = preprocessing
        self._labels = labels
        self._mode = "L" if preprocessing.input_size[0] == 1 else "RGB"
        self._transform: Callable[[Image.Image], Tensor] = preprocessing.transform()

    def as_pixels(self) -> ImageFiles:
        """The same images as uint8 pixels after the crop, not as the network's input."""
        images = copy.copy(self)
        images._transform = ToPixels(self.preprocessing)
        return images

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> tuple[Tensor, int] | DataError:
        """An image and its label; an error as a value, because a worker process would send it on as a traceback."""
        try:
            return self._read(index), self.label(index)
        except DataError as error:
            return error

    def label(self, index: int) -> int:
        """Of an image; 0 where images have none."""
        return 0 if self._labels is None else self._labels[self.side.class_of(self.index[index])]

    def contents(self) -> list[str]:
        """SHA-256 of the files as they are now."""
        return ContentHashes(self.side.folder).of([self.side.names[index] for index in self.index])

    def _read(self, index: int) -> Tensor:
        """An image.

        Raises:
            DataError: The file cannot be read, or preprocessing leaves nothing of it.
        """
        path = self.side.path(self.index[index])
        image = read_image(path, self._mode)
        try:
            return self._transform(image)
        except ValueError as error:  # an edge of no pixels after resizing
            raise unreadable(path, error) from error


class StreamedSet(EvaluationSet):
    """Images decoded while they are needed."""

    def __init__(self, images: Readable, device: torch.device) -> None:
        self._images = images
        self._device = device

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels in fixed order."""
        yield from onto(self._device, decoded(self._images, size))
