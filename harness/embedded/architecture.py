"""The embedded default network: a small DeiT-style transformer for 28x28 grey images.

Importing this module registers the architecture with timm, so that ``timm.create_model`` builds it like any other.
"""

from __future__ import annotations

from typing import Any

from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer

ARCHITECTURE = "vit_pico_patch4_28"
TAG = "fashion_mnist"

# Mean and standard deviation of the 60,000 Fashion-MNIST training images, pixels in [0, 1].
MEAN, STD = 0.2860, 0.3530


def vit_pico_patch4_28(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Build the embedded ViT: 7x7 patches of 4x4 pixels and a class token, width 96, 6 blocks, 3 heads, 10 classes.

    Args:
        pretrained: Accepted for timm's interface; the weights are a file of this package and are loaded by the harness.
        **kwargs: Overrides of ``VisionTransformer`` arguments (for example ``patch_drop_rate`` while training).
    """
    arguments: dict[str, Any] = {
        "img_size": 28,
        "patch_size": 4,
        "in_chans": 1,
        "num_classes": 10,
        "embed_dim": 96,
        "depth": 6,
        "num_heads": 3,
    }
    kwargs = {name: value for name, value in kwargs.items() if not name.startswith("pretrained_")}
    for ignored in ("cache_dir",):
        kwargs.pop(ignored, None)
    model = VisionTransformer(**{**arguments, **kwargs})
    config: Any = {
        "architecture": ARCHITECTURE,
        "tag": TAG,
        "input_size": (1, 28, 28),
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "mean": (MEAN,),
        "std": (STD,),
        "num_classes": 10,
        "license": "apache-2.0",
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    }
    model.pretrained_cfg = model.default_cfg = config
    return model


register_model(vit_pico_patch4_28)
