"""A transformer of one block and a small CNN, with what is read in them, in execution order."""

import functools

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from harness.data.sets import CalibrationSet
from harness.quant.network.qmodel import quantizable

IMAGE = "patch_embed.proj:conv[x]"
VIT_READ = [
    IMAGE,
    "blocks.0.attn.qkv:linear[x]",
    "blocks.0.attn.proj:linear[x]",
    "blocks.0.mlp.fc1:linear[x]",
    "blocks.0.mlp.fc2:linear[x]",
    "head:linear[x]",
]
VIT_PRODUCTS = [f"blocks.0.attn:{product}" for product in ("matmul[a]", "matmul[b]", "matmul_1[a]", "matmul_1[b]")]
VIT_OPERANDS = [*VIT_READ[:2], *VIT_PRODUCTS, *VIT_READ[2:]]
VIT_WEIGHTS = [
    "patch_embed.proj.weight",
    "blocks.0.attn.qkv.weight",
    "blocks.0.attn.proj.weight",
    "blocks.0.mlp.fc1.weight",
    "blocks.0.mlp.fc2.weight",
    "head.weight",
]
CNN_READ = ["stem:conv[x]", "wide:conv[x]", "depthwise:conv[x]", "fc:linear[x]"]
CNN_WEIGHTS = ["stem.weight", "wide.weight", "depthwise.weight", "fc.weight"]


class Cnn(nn.Module):
    """A convolution, a block with a depthwise convolution, and a classifier; batch norms are folded."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4)
        self.wide, self.depthwise = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.depthwise(torch.relu(self.wide(x))))
        return self.fc(x.mean((2, 3)))


@functools.cache
def captured(name):
    """``vit`` or ``cnn`` with random weights, captured once; ``cleared`` gives it without quantizers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Cnn() if name == "cnn" else VisionTransformer(16, 8, embed_dim=8, depth=1, num_heads=2, num_classes=3)
        return quantizable(network.eval(), (3, 16, 16))


def cleared(name):
    """The network in full precision."""
    model = captured(name)
    model.clear()
    return model


def few_images():
    """Eight images for either."""
    return CalibrationSet(torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)))
