"""The one place that knows where optional reference data lies: a folder ``shared`` beside the checkout."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
WEIGHTS = SHARED / "weights"
IMAGES = SHARED / "imagenet-sample"
REFERENCE = SHARED / "reference"
DEIT = WEIGHTS / "deit_tiny_patch16_224.fb_in1k.safetensors"
VIT = WEIGHTS / "vit_tiny_patch16_224.augreg_in21k_ft_in1k.safetensors"

requires_reference = pytest.mark.skipif(
    not (REFERENCE.is_dir() and DEIT.is_file()), reason="no reference data beside the checkout"
)
requires_images = pytest.mark.skipif(
    not (IMAGES.is_dir() and DEIT.is_file()), reason="no ImageNet sample beside the checkout"
)
