"""Very long images: the centre alone gives the pixels that timm's transform of the whole image gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from harness.data import centre_first

SIZES = [(1, 3000), (3000, 1), (7, 1999), (2501, 13), (2, 5000), (30, 4001)]


def picture(size):
    return Image.fromarray(np.random.default_rng(size).integers(0, 255, (*size, 3), np.uint8))


def timm_transform(preprocessing):
    config = {name: getattr(preprocessing, name) for name in ("input_size", "interpolation", "crop_pct", "mean", "std")}
    return create_transform(**config, crop_mode=preprocessing.crop_mode, is_training=False)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos"])
def test_the_same_pixels_as_the_whole_image(size, interpolation, preprocessing_224, monkeypatch):
    small = replace(preprocessing_224, input_size=(3, 32, 32), interpolation=interpolation, mean=(0,) * 3, std=(1,) * 3)
    image = picture(size)
    expected = timm_transform(small)(image)
    monkeypatch.setattr(centre_first, "RESIZED_PIXELS", 2000)
    found = small.transform()(image)
    assert found.shape == expected.shape == (3, 32, 32)
    apart = (found - expected).abs() * 255
    assert apart.max() <= 1.001, "one step of 255: Pillow keeps coordinates in 32 bits"
    assert (apart > 0.5).float().mean() < 0.1, "and few of them: values near a tie"


@pytest.mark.parametrize("shape", [(3, 32, 24), (3, 24, 40)])
def test_networks_whose_input_is_no_square(shape, preprocessing_224, monkeypatch):
    small = replace(preprocessing_224, input_size=shape, crop_pct=0.8)
    image = picture((9, 2000))
    expected = timm_transform(small)(image)
    monkeypatch.setattr(centre_first, "RESIZED_PIXELS", 2000)
    assert (small.transform()(image) - expected).abs().max() < 0.02


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(40, 50), (70, 90), (9, 300)])
def test_a_small_share_of_a_large_resized_image(mode, size, preprocessing_224, monkeypatch):
    small = replace(preprocessing_224, input_size=(3, 16, 16), crop_pct=0.05, crop_mode=mode)
    expected = timm_transform(small)(picture(size))
    monkeypatch.setattr(centre_first, "RESIZED_PIXELS", 2000)
    assert (small.transform()(picture(size)) - expected).abs().max() < 0.02


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(40, 50), (333, 500), (1200, 300), (224, 224), (60, 900)])
def test_ordinary_images_keep_every_bit(size, mode, preprocessing_224):
    chosen = replace(preprocessing_224, crop_mode=mode)
    image = picture(size)
    assert torch.equal(chosen.transform()(image), timm_transform(chosen)(image))


def test_a_line_of_pixels_is_never_resized_as_a_whole(preprocessing_224, monkeypatch):
    sizes = []
    real = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, size, *a, **k: (sizes.append(size), real(self, size, *a, **k))[1]
    )
    assert preprocessing_224.transform()(picture((1, 5000))).shape == (3, 224, 224)
    assert sizes == [(224, 224)]
