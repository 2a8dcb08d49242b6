"""Train the embedded default network on Fashion-MNIST: ``python -m harness.embedded.train --out DIR``.

A small convolutional teacher is trained first, then the transformer with the teacher's soft labels (the recipe of
DeiT, Touvron et al. 2021, with soft instead of hard distillation). Half of the patches are dropped in the first
epochs, which makes them about twice as fast. The run writes ``training_log.csv`` and, after every epoch,
``teacher.safetensors`` or ``student.safetensors``; the weights are those of the last epoch; none is chosen by its accuracy.

Data: the four files of Fashion-MNIST (Xiao et al. 2017, MIT licence). On Debian and Ubuntu
``apt-get install dataset-fashion-mnist`` puts them into ``/usr/share/datasets/fashion-mnist``.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from harness.embedded.architecture import MEAN, STD, vit_pico_patch4_28

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
HOW_TO_GET_DATA = (
    "expected the four .gz files of Fashion-MNIST there; on Debian or Ubuntu install them with "
    "'apt-get install dataset-fashion-mnist', or name another folder with --data"
)


@dataclass(frozen=True)
class Schedule:
    """One training phase: epochs, peak learning rate, weight decay and batch size."""

    epochs: int
    learning_rate: float
    weight_decay: float
    batch: int


def read_idx(folder: Path, name: str) -> Tensor:
    """Read one gzip-compressed IDX file of unsigned bytes as a uint8 tensor.

    Raises:
        SystemExit: The file is not there; the message says how to get it.
    """
    path = folder / name
    if not path.exists():
        raise SystemExit(f"error: {path} does not exist: {HOW_TO_GET_DATA}")
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", count=rank, offset=4).astype(int)
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape).copy())


def teacher_network() -> nn.Module:
    """A 0.3 M parameter convolutional network, 28x28x1 to 10 classes."""

    def stage(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    layers = [*stage(1, 32), *stage(32, 32), nn.MaxPool2d(2), *stage(32, 64), *stage(64, 64), nn.MaxPool2d(2)]
    layers += [*stage(64, 128), nn.Dropout2d(0.1), *stage(128, 128), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(128, 10)).to(memory_format=torch.channels_last)


def normalise(images: Tensor) -> Tensor:
    """Map uint8 images ``(n, 28, 28)`` to normalised floats ``(n, 1, 28, 28)``."""
    return (images.unsqueeze(1).float() / 255 - MEAN) / STD


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images and shift each batch by up to two pixels; uint8 in, uint8 out."""
    flip = torch.rand(len(images), generator=generator) < 0.5
    images = torch.where(flip[:, None, None], images.flip(2), images)
    rows, columns = torch.randint(0, 5, (2,), generator=generator).tolist()
    return F.pad(images, (2, 2, 2, 2))[:, rows : rows + 28, columns : columns + 28]


def batches(images: Tensor, labels: Tensor, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield shuffled, augmented and normalised batches; the incomplete last one is dropped."""
    order = torch.randperm(len(images), generator=generator)
    for start in range(0, len(order) - size + 1, size):
        index = order[start : start + size]
        yield normalise(augment(images[index], generator)), labels[index]


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy in percent."""
    model.eval()
    hits = 0
    for chunk, target in zip(images.split(1000), labels.split(1000), strict=True):
        hits += int((model(normalise(chunk)).argmax(1) == target).sum())
    model.train()
    return 100 * hits / len(images)


def optimiser_for(model: nn.Module, schedule: Schedule) -> torch.optim.AdamW:
    """AdamW without weight decay on vectors (biases, norms) and on the position embedding."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (plain if parameter.ndim < 2 or name in ("pos_embed", "cls_token") else decayed).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.99))


class Trainer:
    """Data, log and generator shared by the teacher's and the transformer's training."""

    def __init__(self, folder: Path, out: Path, seed: int) -> None:
        self.images = read_idx(folder, "train-images-idx3-ubyte.gz")
        self.labels = read_idx(folder, "train-labels-idx1-ubyte.gz").long()
        self.test_images = read_idx(folder, "t10k-images-idx3-ubyte.gz")
        self.test_labels = read_idx(folder, "t10k-labels-idx1-ubyte.gz").long()
        self.generator = torch.Generator().manual_seed(seed)
        self.out = out
        self.rows: list[dict[str, Any]] = []

    def fit(self, model: nn.Module, schedule: Schedule, teacher: nn.Module | None, full_from: int, name: str) -> None:
        """Train ``model``; with a teacher, half of the loss is the soft cross entropy to its output."""
        optimiser = optimiser_for(model, schedule)
        steps = schedule.epochs * (len(self.images) // schedule.batch)
        warmup = steps // 10
        shape = lambda s: min(1.0, (s + 1) / warmup) * (0.5 + 0.5 * math.cos(math.pi * s / steps)) + 1e-3  # noqa: E731
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, shape)
        for epoch in range(schedule.epochs):
            if teacher is not None and epoch == full_from:
                model.patch_drop = nn.Identity()  # every patch from here on
            started, total = time.perf_counter(), 0.0
            for images, labels in batches(self.images, self.labels, schedule.batch, self.generator):
                loss = self.loss(model, teacher, images, labels)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                scheduler.step()
                total += float(loss.detach())
            self.log(name, epoch, total / (steps // schedule.epochs), model, time.perf_counter() - started)

    def loss(self, model: nn.Module, teacher: nn.Module | None, images: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy with label smoothing 0.05, or its mean with the distillation term (temperature 2)."""
        with torch.autocast("cpu", torch.bfloat16, enabled=teacher is None):  # bf16 pays for convolutions only
            output = model(images).float()
        hard = F.cross_entropy(output, labels, label_smoothing=0.05)
        if teacher is None:
            return hard
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            soft = F.softmax(teacher(images).float() / 2, dim=1)
        return 0.3 * hard + 0.7 * 4 * F.cross_entropy(output / 2, soft)

    def log(self, name: str, epoch: int, loss: float, model: nn.Module, seconds: float) -> None:
        """Append one line to the log and rewrite the CSV file, so that an interrupted run leaves its figures."""
        top1 = accuracy(model, self.test_images, self.test_labels)
        self.rows.append(
            {"network": name, "epoch": epoch + 1, "loss": f"{loss:.4f}", "top1": f"{top1:.2f}", "seconds": f"{seconds:.1f}"}
        )
        print(self.rows[-1], flush=True)
        with (self.out / "training_log.csv").open("w", newline="") as handle:
            writer = csv.DictWriter(handle, fieldnames=list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        tensors = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
        save_file(tensors, self.out / f"{name}.safetensors", metadata={"format": "pt"})


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and train both networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DEBIAN_FOLDER, help="folder of the four .gz files")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights and training_log.csv")
    parser.add_argument("--epochs", type=int, default=26, help="epochs of the transformer (default: 26)")
    parser.add_argument("--full-from", type=int, default=20, help="epoch from which no patch is dropped (default: 20)")
    parser.add_argument("--teacher-epochs", type=int, default=5, help="epochs of the teacher (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    trainer = Trainer(arguments.data, arguments.out, arguments.seed)
    teacher = teacher_network()
    trainer.fit(teacher, Schedule(arguments.teacher_epochs, 3e-3, 0.05, 128), None, 0, "teacher")
    teacher.eval().requires_grad_(False)
    student = vit_pico_patch4_28(patch_drop_rate=0.5)
    trainer.fit(student, Schedule(arguments.epochs, 2e-3, 0.05, 128), teacher, arguments.full_from, "student")


if __name__ == "__main__":
    main()
