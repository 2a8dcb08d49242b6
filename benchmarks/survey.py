"""Every architecture family of timm under four schemes: which run, which are refused, and why.

``python benchmarks/survey.py [--families xcit,hiera] [--jobs 2]`` adds rows to ``docs/survey.csv``, skipping those that are
there, and writes the table of ``docs/models.md`` from it. Families and their networks: ``families.csv``
(``find_families.py``).

Weights are random, from a seed, and none is constant: freshly built networks have zeros where a trained one has not. Images
are random, 128 pixels wide where the network takes them.
"""

from __future__ import annotations

import argparse
import csv
import operator
import re
import subprocess
import sys
import time
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import timm
import torch
from timm.layers import set_fused_attn
from torch import Tensor, nn

from harness.data.sets import CalibrationSet
from harness.errors import HarnessError
from harness.graph.capture import Captured, capture
from harness.graph.fold import fold_batch_norms
from harness.graph.operations import Kind, kind_of
from harness.method.base import Context
from harness.method.stack import check
from harness.models.cards import block_pattern
from harness.quant.network.chain import build_chain
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import Bits

ROOT = Path(__file__).resolve().parents[1]
NETWORKS, TABLE, PAGE = ROOT / "benchmarks" / "families.csv", ROOT / "docs" / "survey.csv", ROOT / "docs" / "models.md"
BEGIN, END = "<!-- survey: begin -->", "<!-- survey: end -->"
STACKS = {
    "minmax": "minmax",
    "fqvit": "fqvit",
    "repqvit": "repqvit",
    "operands": "minmax(sites=operands)",
}
IMAGES, WIDTH, SEED = 8, 128, 0
TOLERANCE = 1e-3  # of the largest logit: float32 sums in another order, and batch norms folded


@dataclass
class Row:
    """One family.

    Attributes:
        family: Its name.
        model: Its network.
        parameters: In millions.
        width: Of the images.
        other: Operations that are not known, with their counts.
        blocks: Segments that are blocks, of all.
        exact: Whether the captured graph gives the network's logits bit for bit.
        float32: Largest difference of the 32-bit network's logits, as a share of the largest logit.
        minmax, fqvit, repqvit, operands: SQNR of the logits in dB at w8a8, or why there is none.
        refused: Why the network was refused before any work.
        seconds: For all of it.
    """

    family: str
    model: str
    parameters: str = ""
    width: str = ""
    other: str = ""
    blocks: str = ""
    exact: str = ""
    float32: str = ""
    minmax: str = ""
    fqvit: str = ""
    repqvit: str = ""
    operands: str = ""
    refused: str = ""
    seconds: str = ""

    @property
    def runs(self) -> bool:
        """Whether everything was right: the graph, 32 bits and all schemes."""
        return self.exact == "yes" and self.equal and all(_is_number(getattr(self, name)) for name in STACKS)

    @property
    def equal(self) -> bool:
        """Whether the 32-bit network computes what the network computes."""
        return _is_number(self.float32) and float(self.float32) <= TOLERANCE


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?", text))


@torch.no_grad()
def perturbed(name: str) -> nn.Module:
    """The network with random weights, none of them constant, and statistics of batch norms as after training."""
    set_fused_attn(False)
    torch.manual_seed(SEED)
    network: nn.Module = timm.create_model(name, pretrained=False).eval()
    for path, tensor in network.named_parameters():
        if tensor.numel() > 1 and tensor.std() < 1e-6:
            scale = path.endswith("weight") or bool((tensor != 0).any())
            tensor.uniform_(0.5, 1.5) if scale else tensor.normal_(0, 0.1)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network


@torch.no_grad()
def images_for(network: nn.Module) -> Tensor:
    """Random images, small where the network takes them."""
    channels, *usual = network.pretrained_cfg["input_size"]
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randn(IMAGES, channels, WIDTH, WIDTH, generator=generator)
    try:
        network(images[:1])
    except (RuntimeError, AssertionError, ValueError):  # it asks for another size
        return torch.randn(IMAGES, channels, *usual, generator=generator)
    return images


def survey(family: str, name: str) -> Row:
    """Capture one network and run all schemes."""
    row, started = Row(family, name), time.perf_counter()
    try:
        network = perturbed(name)
        images = images_for(network)
        row.parameters = f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f}"
        row.width = str(images.shape[-1])
        _measure(row, network, images)
    except HarnessError as error:
        row.refused = str(error).split("\n")[0]
    except Exception as error:
        row.refused = f"BUG {type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
    row.seconds = f"{time.perf_counter() - started:.0f}"
    return row


@torch.no_grad()
def _measure(row: Row, network: nn.Module, images: Tensor) -> None:
    expected = network(images)
    captured = capture(network, tuple(images.shape[1:]))  # type: ignore[arg-type]
    row.exact = "yes" if torch.equal(captured.module()(images)[0], expected) else "no"
    row.other = _unknown(captured)
    model = QuantizedModel(build_chain(fold_batch_norms(captured), block_pattern(row.model)), row.model, network)
    row.blocks = f"{sum(segment.is_block for segment in model.segments)} of {len(model.segments)}"
    row.float32 = f"{float((model(images) - expected).abs().max() / expected.abs().max()):.1e}"
    for column, stack in STACKS.items():
        model.clear()
        setattr(row, column, _scheme(model, stack, images, expected))


def _unknown(captured: Captured) -> str:
    others = [node for node in captured.graph.nodes if kind_of(node) is Kind.OTHER and node.target is not operator.getitem]
    names = [str(node.target).removeprefix("aten.") for node in others]
    return " ".join(f"{name} x{count}" for name, count in Counter(names).items())


def _scheme(model: QuantizedModel, stack: str, images: Tensor, expected: Tensor) -> str:
    """SQNR of the logits in dB, or what went wrong."""
    try:
        for step in check(stack).steps:
            step.method.apply(model, CalibrationSet(images), Context(Bits.parse("w8a8")))
        logits = model(images)
    except HarnessError as error:
        return str(error).split("\n")[0]
    except Exception as error:
        return f"BUG {type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
    if not torch.isfinite(logits).all():
        return "not finite"
    noise = (logits - expected).double().square().sum()
    return f"{10 * float(torch.log10(expected.double().square().sum() / noise)):.1f}"


def read_rows(path: Path) -> list[Row]:
    """Rows that are there already."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [Row(**row) for row in csv.DictReader(file)]


def append(path: Path, row: Row) -> None:
    """Add a row; a header first where the file is new."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [one.name for one in fields(Row)], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(asdict(row))


def page(rows: list[Row], text: str) -> str:
    """The page with the table between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    running = sum(row.runs for row in rows)
    head = f"{running} of {len(rows)} families ({100 * running / len(rows):.0f} %) run under all schemes."
    lines = [
        f"| family | network | million parameters | pixels | blocks | bit for bit | 32 bits | {' | '.join(STACKS)} |",
        f"|:--|:--|--:|--:|--:|:--|--:|{'--:|' * len(STACKS)}",
        *(_line(row) for row in sorted(rows, key=lambda row: row.family)),
    ]
    others = [f"- `{row.model}`: {row.other.replace(' x', ' × ')}" for row in rows if row.other and row.runs]
    wrong = [f"- `{row.model}`: {_complaint(row)}" for row in rows if not row.runs]
    listed = "\n\nOperations of kind `other`:\n\n" + "\n".join(sorted(others)) if others else ""
    refused = "\n\nWhat does not run:\n\n" + "\n".join(sorted(wrong)) if wrong else ""
    return f"{before}{BEGIN}\n{head}\n\n" + "\n".join(lines) + f"{listed}{refused}\n{END}{after}"


def _line(row: Row) -> str:
    schemes = [getattr(row, name) if _is_number(getattr(row, name)) else "-" for name in STACKS]
    cells = [
        row.family,
        f"`{row.model}`",
        row.parameters,
        row.width,
        row.blocks,
        row.exact or "-",
        row.float32 or "-",
        *schemes,
    ]
    return f"| {' | '.join(cells)} |"


def _complaint(row: Row) -> str:
    if row.refused:
        return row.refused
    wrong = [f"{name}: {getattr(row, name)}" for name in STACKS if not _is_number(getattr(row, name))]
    wrong += [] if row.exact == "yes" else ["the captured graph differs in the last bits"]
    wrong += [] if row.equal else [f"32 bits differ by {row.float32}"]
    return "; ".join(wrong)


def networks() -> dict[str, str]:
    """The network of every family."""
    with NETWORKS.open(encoding="utf-8", newline="") as file:
        return {row["family"]: row["model"] for row in csv.DictReader(file)}


def _spread(names: list[str], jobs: int, table: Path) -> None:
    """Share families out to processes of their own."""
    parts = [names[index::jobs] for index in range(jobs)]
    command = [sys.executable, __file__, "--csv", str(table), "--no-page"]
    running = [subprocess.Popen([*command, "--families", ",".join(part)]) for part in parts if part]
    for process in running:
        process.wait()


def main() -> None:
    """Survey what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", help="only these, separated by commas (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with one thread (default: 1)")
    parser.add_argument("--csv", type=Path, default=TABLE, help="rows that are there are not measured again")
    parser.add_argument("--no-page", action="store_true", help="leave docs/models.md as it is")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    models = networks()
    there = {row.family for row in read_rows(options.csv)}
    wanted = options.families.split(",") if options.families is not None else list(models)
    missing = [family for family in wanted if family in models and family not in there]
    if options.jobs > 1:
        _spread(missing, options.jobs, options.csv)
    for family in missing if options.jobs == 1 else []:
        row = survey(family, models[family])
        append(options.csv, row)
        print(f"{family:24} {row.model:36} {'runs' if row.runs else _complaint(row)} ({row.seconds} s)", flush=True)
    if not options.no_page:
        PAGE.write_text(page(read_rows(options.csv), PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
