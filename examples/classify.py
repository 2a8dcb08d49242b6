"""Classify photographs with an exported folder: ONNX Runtime, numpy, and Pillow to decode. Nothing of the harness is needed.

    python examples/classify.py deployed photographs

``photographs`` holds images, or one folder of images for each class, named by its id as in the manifest (a WordNet id) or by
its number; then the last line is top-1.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


def prepared(path: Path, about: dict[str, Any]) -> np.ndarray:
    """An image as the network's input ``(1, c, h, w)``, as the manifest says."""
    channels, height, width = about["input_size"]
    with Image.open(path) as opened:
        image = opened.convert("L" if channels == 1 else "RGB")
    image = cropped(resized(image, about), height, width)
    pixels = np.asarray(image, np.float32).reshape(height, width, channels).transpose(2, 0, 1) / 255
    mean, std = (np.asarray(about[name], np.float32).reshape(-1, 1, 1) for name in ("mean", "std"))
    return ((pixels - mean) / std)[None]


def resized(image: Image.Image, about: dict[str, Any]) -> Image.Image:
    """The shorter side becomes the input's size divided by ``crop_pct``; for ``squash``, both sides."""
    _, height, width = about["input_size"]
    size = [math.floor(side / about["crop_pct"]) for side in (width, height)]
    if about["crop_mode"] == "center":
        short, long = size[0], int(size[0] * max(image.size) / min(image.size))
        size = [short, long] if image.width <= image.height else [long, short]
    elif about["crop_mode"] != "squash":
        raise SystemExit(f"crop mode {about['crop_mode']!r} is not implemented here, expected center or squash")
    return image.resize(tuple(size), Image.Resampling[about["interpolation"].upper()])


def cropped(image: Image.Image, height: int, width: int) -> Image.Image:
    """The centre."""
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def labels_of(folder: Path, classes: list[dict[str, str]]) -> Iterator[tuple[Path, int | None]]:
    """Images with the index of their class; None where folders do not say."""
    index = {one["id"]: number for number, one in enumerate(classes)} | {str(n): n for n in range(len(classes))}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in ENDINGS:
            yield path, index.get(path.parent.name)


def main() -> None:
    """Print the class of every image, and top-1 where classes are known."""
    parser = argparse.ArgumentParser(description="Classify photographs with an exported folder.")
    parser.add_argument("deployed", type=Path, help="folder that harness export wrote")
    parser.add_argument("photographs", type=Path, help="images, or one folder of images a class")
    arguments = parser.parse_args()
    manifest = json.loads((arguments.deployed / "manifest.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(arguments.deployed / manifest["file"], providers=["CPUExecutionProvider"])
    right = known = 0
    for path, label in labels_of(arguments.photographs, manifest["classes"]):
        image = prepared(path, manifest["preprocessing"])
        (logits,) = session.run([manifest["output"]], {manifest["input"]: image})
        best = int(logits[0].argmax())
        print(f"{path}: {manifest['classes'][best]['name']}")
        known += label is not None
        right += label == best
    if known:
        print(f"top-1 {100 * right / known:.2f} % of {known} images")


if __name__ == "__main__":
    main()
