"""What the classes of a network's logits are called."""

from __future__ import annotations

from typing import NamedTuple

from timm.data import ImageNetInfo

from harness.data.labels import IMAGENET_CLASSES
from harness.embedded import assets
from harness.trial.spec import EMBEDDED


class ClassName(NamedTuple):
    """One class.

    Attributes:
        id: Name of its folder of images: a WordNet id or a number.
        name: In words.
    """

    id: str
    name: str


def class_names(data: str) -> list[ClassName]:
    """The classes of a data source in the order of the logits.

    Args:
        data: Its name.
    """
    if data == EMBEDDED:
        return [ClassName(str(index), name) for index, name in enumerate(assets.CLASSES)]
    info = ImageNetInfo("imagenet-1k")
    return [ClassName(label, info.label_name_to_description(label)) for label in info.label_names()[:IMAGENET_CLASSES]]
