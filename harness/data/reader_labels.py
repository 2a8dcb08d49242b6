"""Which output of a network the class of a reader's data set stands for: data sets number their classes themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.data.labels import IMAGENET_CLASSES, SUBSETS, Labels, Wanted, imagenet_index, labels_hash, labels_of
from harness.errors import DataError
from harness.trial.spec import TIMM, TORCHVISION


@dataclass(frozen=True)
class Numbered:
    """The classes of a data set.

    Attributes:
        found: Labels of the evaluation split, sorted, each once.
        names: Of the classes in the order of their numbers; empty where there are none.
        count: Number of classes; 0 where the data set does not say.
    """

    found: Sequence[int]
    names: Sequence[str]
    count: int

    @classmethod
    def of(cls, labels: np.ndarray, names: Sequence[str], count: int) -> Numbered:
        """From the labels of all images, ``(n,)``."""
        return cls([int(one) for one in np.unique(labels)], names, count)


def numbered_labels(classes: Numbered, outputs: int, data: str, model: str, chosen: str | None) -> Labels:
    """Output of the network by number of the class, as text.

    Names that are WordNet ids are found among ImageNet's subset of as many outputs; else the number is the output.

    Args:
        classes: Of the data set.
        outputs: Number of logits.
        data: What the user called the data.
        model: What the network is called.
        chosen: The path of a mapping file, whose column ``folder`` has names or numbers of classes; or None.

    Raises:
        DataError: An image has no label, numbers do not fit, or the file cannot be used.
    """
    if classes.found[0] < 0:
        raise DataError(f"images of {data!r} have no labels", "choose another split (evaluation=NAME), or --task features")
    if chosen in (TIMM, TORCHVISION):
        raise DataError(f"classes {chosen!r} are for class folders, data {data!r} numbers its classes itself")
    if chosen is not None:
        return _mapped(classes, outputs, data, model, chosen)
    known = imagenet_index(outputs)
    if classes.names and all(name in known and not name.isdecimal() for name in classes.names):
        index = {str(number): known[name] for number, name in enumerate(classes.names)}
        return Labels(index, SUBSETS[outputs], labels_hash(index))
    largest = classes.found[-1]
    if classes.count not in (0, outputs) or largest >= outputs:
        many = f"{classes.count:,} classes" if classes.count else f"classes up to {largest:,}"
        raise DataError(
            f"{many} in {data!r}, the network {model} has {outputs:,} outputs",
            "choose a model and data that belong together, or a mapping with --classes FILE (columns folder, index), where "
            "folder is the name or number of a class",
        )
    index = {str(one): one for one in classes.found}
    return Labels(index, "class indices of the data set", "" if outputs == IMAGENET_CLASSES else labels_hash(index))


def _mapped(classes: Numbered, outputs: int, data: str, model: str, chosen: str) -> Labels:
    """By a file of names or numbers."""
    numbers = list(map(str, classes.found))
    if not classes.names or any(one >= len(classes.names) for one in classes.found):
        return labels_of(Wanted(numbers, outputs, data, model), chosen)
    names = [classes.names[one] for one in classes.found]
    by_name = labels_of(Wanted(names, outputs, data, model), chosen)
    index = {number: by_name.index[name] for number, name in zip(numbers, names, strict=True)}
    return Labels(index, by_name.rule, labels_hash(index))
