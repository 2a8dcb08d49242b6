"""Parquet files and tar shards of made-up images, as the libraries that read them write them."""

import importlib
import io
import json
import tarfile

import numpy as np
from PIL import Image

CLASSES = 10
SHARD = 10  # samples


def encoded(what):
    """A picture of noise that differs for every ``what``, as PNG."""
    pixels = np.random.default_rng(list(what.encode())).integers(0, 255, (30, 34, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def samples(split, count):
    """Encoded images with their classes."""
    return [(encoded(f"{split}/{index}"), index % CLASSES) for index in range(count)]


SPLITS = {"train": samples("train", 12), "validation": samples("validation", 25)}


def write_parquet(folder, names=None, splits=SPLITS):
    """A folder with ``data/train-00000-of-00001.parquet`` and so on; classes are called ``names``."""
    datasets = importlib.import_module("datasets")
    classes = names or [f"class {i}" for i in range(CLASSES)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=classes)})
    (folder / "data").mkdir(parents=True)
    for split, rows in splits.items():
        columns = {"image": [{"bytes": one, "path": None} for one, _ in rows], "label": [label for _, label in rows]}
        made = datasets.Dataset.from_dict(columns, features=features)
        made.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def write_shards(folder, info=False, label="cls", splits=SPLITS):
    """A folder with ``train-0000.tar`` and so on, with timm's list of splits where ``info`` says so."""
    listed = {}
    folder.mkdir()
    for split, rows in splits.items():
        files = {f"{split}-{start // SHARD:04d}.tar": rows[start : start + SHARD] for start in range(0, len(rows), SHARD)}
        for file, some in files.items():
            write_shard(folder / file, some, label)
        lengths = [len(some) for some in files.values()]
        listed[split] = {"name": split, "filenames": list(files), "shard_lengths": lengths, "num_samples": len(rows)}
    if info:
        (folder / "_info.json").write_text(json.dumps({"splits": listed}))
    return folder


def write_shard(path, rows, label):
    """One shard; labels are in files of their own (``cls``) or in a field of JSON files."""
    with tarfile.open(path, "w") as shard:
        for index, (image, number) in enumerate(rows):
            text = str(number) if label == "cls" else json.dumps({label: number})
            for ending, content in (("png", image), ("cls" if label == "cls" else "json", text.encode())):
                member = tarfile.TarInfo(f"{index:06d}.{ending}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
