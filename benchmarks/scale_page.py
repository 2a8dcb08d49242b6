"""Writes ``docs/scale.md`` from ``scale.json``: what two grids on ImageNet-1k cost, and what limits them.

``python benchmarks/scale_page.py [--check]``. All arithmetic of the page is here; what is measured comes from ``scale.py``,
what is assumed stands in ``Assumed`` and on the page.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FACTS, PAGE = ROOT / "benchmarks" / "scale.json", ROOT / "docs" / "scale.md"
TEMPLATE = ROOT / "benchmarks" / "scale_template.md"
IMAGES, CLASSES = 50_000, 1_000
SEARCH = "evolq"
# Calibration against one full-precision pass with 128 images (docs/speed.md, forward_cost.py): with few images the search of
# 90 shrink factors for every activation looks dearer than it is.
KNOWN = {"fqvit": 1.19, "omse": 5.6 - 1.19}
DECODING = 0.0093  # seconds an image on one core (docs/speed.md, decode_once.py)
PASSES, BLOCKS = 10, 12  # of the paper's search; blocks of the network that was measured, with one pass
LADDER = ("fqvit", "omse", "biascorr", SEARCH)
PHOTOGRAPHS = 500
SIZES = {"small": 10_000, "large": 100_000}  # trials, of which the page says what limits them
PARTS = {"start": "start of a process", "trial0": "first trial", "trial1": "each further trial"}
UNCOUNTED = ("capture", "load calibration images")
NEEDED = ("networks", "trial", "sizes", "calls", "stores")


@dataclass(frozen=True)
class Assumed:
    """What nobody has measured here.

    Attributes:
        peak: Float32 operations a second of one GPU: NVIDIA's data sheet of the A100 (19.5 TFLOP/s outside of tensor cores).
        share: Of it that these networks reach in float32.
        lookups: Calls a second that a shared file system's metadata server answers.
        jobs: At the same time, the default of ``--array-parallelism``.
        job_hours: Work that a job holds: half of the default time limit.
    """

    peak: float = 19.5e12
    share: float = 0.3
    lookups: float = 10_000.0
    jobs: int = 64
    job_hours: float = 2.0


@dataclass(frozen=True)
class Grid:
    """Trials of an experiment.

    Attributes:
        name: For the page.
        networks: Names.
        stacks: Each a tuple of steps; a stack that begins another one shares its states.
        widths: Number of bit-widths.
        seeds: Number of seeds.
        calib: Calibration images.
    """

    name: str
    networks: Sequence[str]
    stacks: Sequence[tuple[str, ...]]
    widths: int = 3
    seeds: int = 3
    calib: int = 1000

    @property
    def trials(self) -> int:
        """How many there are."""
        return len(self.networks) * len(self.stacks) * self.widths * self.seeds

    @property
    def prefixes(self) -> list[tuple[str, ...]]:
        """All beginnings of stacks, each once: each is computed once for every network, width and seed."""
        return sorted({stack[:length] for stack in self.stacks for length in range(1, len(stack) + 1)})


def grids(networks: Mapping[str, Any]) -> list[Grid]:
    """The supplement's grid and that over five families."""
    ladder = [LADDER[:length] for length in range(1, len(LADDER) + 1)]
    paper = [name for name in networks if name.startswith("deit_") or name.startswith("vit_base")]
    supplement = Grid("supplement, Table 1", paper, [*ladder, (*LADDER[:-1], f"{SEARCH} as printed")])
    return [supplement, Grid("five families", list(networks), [("minmax",), *ladder, ("repqvit",)])]


@dataclass(frozen=True)
class Costs:
    """What is known of the costs, in full-precision passes of one image.

    Attributes:
        facts: The measured parts.
        assumed: The rest.
    """

    facts: Mapping[str, Any]
    assumed: Assumed = Assumed()

    def step(self, name: str, network: str) -> float:
        """A step of a stack, for each calibration image."""
        measured = self.facts["trial"]["steps"]
        if name in KNOWN:
            return KNOWN[name]
        if not name.startswith(SEARCH):
            return float(measured[name]["seconds"] / self.full)
        blocks = self.facts["networks"][network]["blocks"]
        return float(measured[SEARCH]["seconds"] / self.full * PASSES * blocks / BLOCKS)

    @property
    def full(self) -> float:
        """Seconds of a full-precision pass of one image, on the processor that was measured."""
        return float(self.facts["trial"]["full"])

    @property
    def evaluation(self) -> float:
        """A quantized pass."""
        return float(self.facts["trial"]["quantized"] / self.full)

    def hours(self, network: str, passes: float) -> float:
        """Hours of one GPU."""
        speed = self.assumed.peak * self.assumed.share
        return float(passes * self.facts["networks"][network]["flops"] / speed / 3600)

    def work(self, grid: Grid) -> dict[str, float]:
        """GPU hours of a grid by what they are spent on."""
        found = {"quantized passes over 50,000 images": 0.0, "full precision, once a network": 0.0, "calibration": 0.0}
        found |= {"search": 0.0}
        repeats = grid.widths * grid.seeds
        for name in grid.networks:
            found["quantized passes over 50,000 images"] += self.hours(
                name, IMAGES * self.evaluation * len(grid.stacks) * repeats
            )
            found["full precision, once a network"] += self.hours(name, IMAGES)
            for prefix in grid.prefixes:
                kind = "search" if prefix[-1].startswith(SEARCH) else "calibration"
                found[kind] += self.hours(name, self.step(prefix[-1], name) * grid.calib * repeats)
        return found


def bytes_of(grid: Grid, facts: Mapping[str, Any]) -> dict[str, float]:
    """Bytes on the shared disk by what they are."""
    networks = facts["networks"]
    measured = networks[facts["trial"]["network"]]["parameters"]
    larger = sum(networks[name]["parameters"] / measured for name in grid.networks)  # in networks of the measured size
    repeats = grid.widths * grid.seeds
    each = [channels * height * width + 4 for channels, height, width in _sets(grid, facts).values()]
    return {
        "records": grid.trials * facts["trial"]["record"],
        "right or wrong, a bit an image": grid.trials * 2 * IMAGES / 8,
        "quantizers of trials": larger * repeats * sum(_quantizers(stack, facts) for stack in grid.stacks),
        "states of stack prefixes": larger * repeats * sum(_quantizers(prefix, facts) for prefix in grid.prefixes),
        "full-precision logits": len(grid.networks) * IMAGES * CLASSES * 4,
        "decoded images": sum(IMAGES * one + grid.seeds * grid.calib * one for one in each),
    }


def _quantizers(stack: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Bytes of the state behind some steps; a search moves scales and adds none."""
    return float(facts["sizes"]["+".join(name for name in stack if not name.startswith(SEARCH))])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown, numbers to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"


def rendered(facts: Mapping[str, Any]) -> str:
    """The page.

    Raises:
        ValueError: A part has not been measured.
    """
    missing = [name for name in NEEDED if name not in facts]
    if missing:
        raise ValueError(f"{FACTS.name} has no {', '.join(missing)}: run benchmarks/scale.py")
    costs, asked = Costs(facts), grids(facts["networks"])
    values = {**_about(costs, asked), **_limits(costs, asked[-1]), **_metadata(costs)}
    values |= {"jobs": _jobs(asked, costs), "steps": _steps(costs), "networks": _networks(costs)}
    values |= {"disk": _disk(asked, facts), "stores": _stores(facts)}
    return TEMPLATE.read_text(encoding="utf-8").format(**values)


def _about(costs: Costs, asked: Sequence[Grid]) -> dict[str, str]:
    trial, assumed = costs.facts["trial"], costs.assumed
    stacks = [f"{grid.name}: " + ", ".join(f"`{'+'.join(one)}`" for one in grid.stacks) for grid in asked]
    return {
        "cpu": trial["cpu"],
        "threads": str(trial["threads"]),
        "share": f"{100 * assumed.share:.0f}",
        "peak": f"{assumed.peak / 1e12:.1f}",
        "passes": str(PASSES),
        "lookups": f"{assumed.lookups:,.0f}",
        "stacks": "; ".join(stacks),
        "calib": f"{asked[0].calib:,}",
    }


def _jobs(asked: Sequence[Grid], costs: Costs) -> str:
    work, assumed = [costs.work(grid) for grid in asked], costs.assumed
    totals = [sum(one.values()) for one in work]
    jobs = [max(len(grid.networks), -(-total // assumed.job_hours)) for grid, total in zip(asked, totals, strict=True)]
    rows = [
        ["networks", *[f"{len(grid.networks)}" for grid in asked]],
        ["stacks x widths x seeds", *[f"{len(grid.stacks)} x {grid.widths} x {grid.seeds}" for grid in asked]],
        ["**trials**", *[f"**{grid.trials:,}**" for grid in asked]],
        *[[f"GPU hours: {name}", *[f"{one[name]:,.1f}" for one in work]] for name in work[0]],
        ["**GPU hours**", *[f"**{total:,.0f}**" for total in totals]],
        [f"jobs of {assumed.job_hours:.0f} hours, at least one a network", *[f"{count:,.0f}" for count in jobs]],
        [f"days with {assumed.jobs} GPUs", *[f"{total / 24 / assumed.jobs:,.2f}" for total in totals]],
        ["core hours of decoding, in every trial", *[f"{_decoding(grid.trials * _images(grid)):,.0f}" for grid in asked]],
        [
            "core hours of decoding, once",
            *[f"{_decoding(len(_sets(grid, costs.facts)) * _images(grid)):,.1f}" for grid in asked],
        ],
    ]
    return table(["", *[grid.name for grid in asked]], rows)


def _images(grid: Grid) -> int:
    """Images of one trial."""
    return IMAGES + grid.calib


def _decoding(images: int) -> float:
    """Hours of one core."""
    return images * DECODING / 3600


def _sets(grid: Grid, facts: Mapping[str, Any]) -> dict[str, Sequence[int]]:
    """Channels, height and width of the decoded images, by all that decides their pixels."""
    return {facts["networks"][name]["pixels"]: facts["networks"][name]["input"] for name in grid.networks}


def _steps(costs: Costs) -> str:
    trial = costs.facts["trial"]
    measured = {name: one["seconds"] for name, one in trial["steps"].items() if name not in UNCOUNTED}
    measured |= {name: passes * costs.full for name, passes in KNOWN.items()}
    named = {f"`{name}`{', one pass' if name == SEARCH else ''}": seconds for name, seconds in measured.items()}
    named |= {"quantized pass": trial["quantized"], "full-precision pass": costs.full}
    rows = [[name, f"{seconds / costs.full:.2f}"] for name, seconds in named.items()]
    return table(["step, DeiT-T", "full-precision passes for each image"], rows)


def _networks(costs: Costs) -> str:
    rows = []
    for name, one in costs.facts["networks"].items():
        evaluation = costs.hours(name, IMAGES * costs.evaluation)
        search = costs.hours(name, 1000 * costs.step(SEARCH, name))
        sizes = [f"{one['flops'] / 1e9:.2f}", f"{one['parameters'] / 1e6:.1f}", f"{one['blocks']}"]
        rows.append([f"`{name}`", *sizes, f"{60 * evaluation:.1f}", f"{60 * search:.0f}"])
    head = ["network", "GFLOP an image", "million parameters", "blocks", "GPU minutes of an evaluation", "of a search"]
    return table(head, rows)


def _disk(asked: Sequence[Grid], facts: Mapping[str, Any]) -> str:
    held = [bytes_of(grid, facts) for grid in asked]
    rows = [[name, *[size(one[name]) for one in held]] for name in held[0]]
    rows.append(["**all**", *[f"**{size(sum(one.values()))}**" for one in held]])
    return table(["", *[grid.name for grid in asked]], rows)


def _metadata(costs: Costs) -> dict[str, str]:
    parts = {text: costs.facts["calls"][part] for part, text in PARTS.items()}
    places = sorted({place for counts in parts.values() for place in counts})
    rows = [[place, *[f"{counts.get(place, 0):,.0f}" for counts in parts.values()]] for place in places]
    workers, lookups = costs.assumed.jobs, costs.assumed.lookups
    return {
        "calls": table(["path", *parts], rows),
        "each": f"{costs.facts['calls']['trial0']['images'] / PHOTOGRAPHS:.1f}",
        "workers": str(workers),
        "asks": f"{workers * IMAGES / 1e6:.1f}",
        "minutes": f"{workers * IMAGES / lookups / 60:.1f}",
    }


def _sorted(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The stores, the smallest first."""
    return sorted(facts["stores"].values(), key=lambda one: int(one["trials"]))


def _stores(facts: Mapping[str, Any]) -> str:
    stores = _sorted(facts)
    head = ["command", *[text for one in stores for text in (f"{one['trials']:,} trials: CPU s", "MB")]]
    rows = []
    for name in stores[0]["rows"]:
        found = [one["rows"][name] for one in stores]
        cells = [text for row in found for text in (f"{row['cpu']:,.1f}", _megabytes(row))]
        rows.append([name if name == "import" else f"`{name}`", *cells])
    return table(head, rows)


def _megabytes(row: Mapping[str, Any]) -> str:
    return "-" if row["megabytes"] is None else f"{row['megabytes']:,.0f}"


def took(stores: Sequence[Mapping[str, Any]], name: str, trials: int, unit: str) -> str:
    """What a command needs with so many trials: measured, or in proportion to the nearest store, which is said."""
    stores = [one for one in stores if one["rows"][name][unit] is not None]
    nearest = min(stores, key=lambda one: abs(one["trials"] - trials))
    base = nearest["rows"]["import"][unit] if name.startswith("plan") else 0.0
    value = base + (nearest["rows"][name][unit] - base) * trials / nearest["trials"]
    text = f"{value:,.0f} {'MB' if unit == 'megabytes' else 's'}"
    near = abs(nearest["trials"] - trials) < trials / 100
    return text if near else f"{text} (in proportion to {nearest['trials']:,} trials)"


def _limits(costs: Costs, largest: Grid) -> dict[str, str]:
    stores = _sorted(costs.facts)
    hours = sum(costs.work(largest).values()) / largest.trials
    values = {"gpu_minutes": f"{60 * hours:.0f}"}
    commands = {"plan": "plan, nothing done", "status": "status", "report": "report, first"}
    for which, trials in SIZES.items():
        values |= {which: f"{trials:,}", f"{which}_hours": f"{hours * trials:,.0f}", f"{which}_files": f"{5 * trials:,}"}
        values |= {f"{which}_{key}": took(stores, name, trials, "cpu") for key, name in commands.items()}
        values |= {f"{which}_{key}_memory": took(stores, name, trials, "megabytes") for key, name in commands.items()}
    return values


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only tell whether the page is what the figures say")
    given = parser.parse_args()
    text = rendered(json.loads(FACTS.read_text(encoding="utf-8")))
    if given.check:
        sys.exit(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
