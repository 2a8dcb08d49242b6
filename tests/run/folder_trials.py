"""Trials on a small image folder with a small network of random weights, for tests."""

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from harness.trial.spec import TrialSpec

CLASSES = ("n01440764", "n01443537")


def image_folder(root, train=6, val=5):
    """``train/`` and ``val/`` with that many images of noise per class; returns the folder."""
    for part, count in (("train", train), ("val", val)):
        for number, wnid in enumerate(CLASSES):
            (root / part / wnid).mkdir(parents=True)
            for index in range(count):
                pixels = np.random.default_rng([len(part), number, index]).integers(0, 255, (170, 180, 3), np.uint8)
                Image.fromarray(pixels).save(root / part / wnid / f"{part}_{index}.png")
    return root


def weights(path):
    """Random weights of a small network of timm."""
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), path)
    return path


def spec(root, method="minmax", **changes):
    """A trial on them."""
    where = {"model": "test_resnet", "weights": weights(root.parent / "w.safetensors"), "data": str(root)}
    return TrialSpec(method, **{**where, "calib": 4, "batch": 4, "device": "cpu", **changes})
