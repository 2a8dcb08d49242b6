"""Which Pareto pictures a report has, what they show, and what their files are called.

Quantization takes about as long at every bit-width, so times have a picture for each. Size, latency and bit-operations are
what a lower bit-width buys: all bit-widths of a network share a picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.leaderboard.board.boards import Board, BoardCell, Network, takes_part
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.points import point_of
from harness.leaderboard.published.numbers import PublishedRuntime, accuracies, models, runtimes
from harness.leaderboard.render import names
from harness.leaderboard.render.folder import ReportFolder
from harness.leaderboard.stats.pareto import Standing, standings

KINDS = {
    "seconds": "time", "size_bytes": "size", "bit_operations": "bitops", "latency": "latency", "disk_bytes": "disk",
}  # fmt: skip
ABOUT = {
    "seconds": "time", "size_bytes": "model size", "bit_operations": "bit-operations", "latency": "latency",
    "disk_bytes": "bytes on disk",
}  # fmt: skip
FORMATS = ("svg", "pdf", "png")


@dataclass(frozen=True)
class Picture:
    """A picture that was written.

    Attributes:
        alt: What it shows, in a few words.
        paths: One file per format.
    """

    alt: str
    paths: tuple[Path, ...]

    @property
    def shown(self) -> Path | None:
        """The file that a web page can show."""
        return next((path for path in self.paths if path.suffix in (".svg", ".png")), None)


@dataclass(frozen=True)
class Plan:
    """A picture before it is drawn.

    Attributes:
        network: Of all its points.
        boards: One for each bit-width.
        cost: One of ``KINDS``.
        hardware: Of times and latencies; empty for other costs.
    """

    network: Network
    boards: tuple[Board, ...]
    cost: str
    hardware: str

    @property
    def bits(self) -> str:
        """Its bit-width, or that there are several."""
        return self.boards[0].bits if len(self.boards) == 1 else "all"

    @property
    def title(self) -> str:
        """Network, bits and setting."""
        bits = "" if len(self.boards) > 1 else f"{self.bits}, "
        return f"{self.network.label}, {bits}{_setting(self.boards[0])}"

    @property
    def name(self) -> str:
        """Of its files, without ending; the same in every report, whatever else the store has."""
        own = names.digest(self.network.label, _setting(self.boards[0]), self.hardware)
        return f"pareto-{KINDS[self.cost]}-{names.slug(names.network(self.network.model))}-{names.slug(self.bits)}-{own}"


def write_pictures(
    boards: Sequence[Board], evidence: Evidence, folder: ReportFolder, costs: Sequence[str], formats: Sequence[str]
) -> list[Picture]:
    """Draw and write all pictures; those of an earlier report that are none of them are removed.

    Args:
        boards: The leaderboards.
        evidence: Per-image results.
        folder: Where.
        costs: Of ``KINDS``.
        formats: Of ``FORMATS``.
    """
    from harness.leaderboard.render.figures import pareto_figure, save  # matplotlib, only for pictures

    written = []
    for plan in plans(boards, costs):
        points = points_of(plan, evidence)
        published = published_points(plan.boards[0], plan.network) if plan.cost == "seconds" else []
        figure = pareto_figure(plan.title, points, plan.cost, plan.hardware, _full(plan), published)
        alt = f"Top-1 against {ABOUT[plan.cost]}, {names.network(plan.network.model)}, {plan.bits}"
        written.append(Picture(alt, tuple(save(figure, plan.name, folder, formats))))
    folder.remove_others("pareto")
    return written


def plans(boards: Sequence[Board], costs: Sequence[str]) -> Iterator[Plan]:
    """The pictures of these boards."""
    for cost in costs:
        together: dict[tuple[Network, str, str, str], list[Board]] = {}
        for board in boards:
            for (recipe, network), cell in board.cells.items():
                if takes_part(recipe, cell) and math.isfinite(getattr(cell, cost)):
                    apart = (board.bits if cost == "seconds" else "", _hardware(cell, cost))
                    members = together.setdefault((network, board.fingerprint + _setting(board), *apart), [])
                    members += [board] if board not in members else []
        for (network, _, _, hardware), members in together.items():
            yield Plan(network, tuple(members), cost, hardware)


def points_of(plan: Plan, evidence: Evidence) -> list[tuple[str, Standing]]:
    """Bit-width and standing of every point: times of different machines never share a front."""
    found = [
        (board.bits, point_of(recipe, cell, plan.cost, evidence))
        for board in plan.boards
        for (recipe, network), cell in board.cells.items()
        if network == plan.network and takes_part(recipe, cell) and math.isfinite(getattr(cell, plan.cost))
        if _hardware(cell, plan.cost) == plan.hardware
    ]
    return list(zip([bits for bits, _ in found], standings([point for _, point in found]), strict=True))


def _hardware(cell: BoardCell, cost: str) -> str:
    """What a cost was measured on; empty for what is counted."""
    return {"seconds": cell.device, "latency": cell.latency_on}.get(cost, "")


def published_points(board: Board, network: Network) -> list[tuple[PublishedRuntime, float]]:
    """Published runtimes of a network with the accuracy that the same method reports at the same bit-width."""
    found = []
    for runtime in runtimes():
        if models().get(runtime.model) != network.published.name or runtime.weight_bits is None:
            continue
        bits = f"w{runtime.weight_bits:g}a{runtime.activation_bits:g}"
        same = [a for a in accuracies() if (a.method, a.model, a.bits) == (runtime.method, runtime.model, bits)]
        if same and bits == board.bits:
            found.append((runtime, same[0].top1))
    return found


def _full(plan: Plan) -> float:
    return next(cell.top1_fp32 for (_, other), cell in plan.boards[0].cells.items() if other == plan.network)


def _setting(board: Board) -> str:
    """A board's title without its bit-width."""
    return board.title.removeprefix(f"{board.bits}, ")
