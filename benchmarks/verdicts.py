"""Do the verdicts keep their promise? Simulated boards whose truth is known.

``python benchmarks/verdicts.py [--boards 400]`` prints how often a 95 % interval of a difference covers the truth, and how
often a board of equal stacks marks any of them as worse. Rows differ in the number of images and seeds, in how much of the
spread comes from seeds, and in how alike the stacks are.

``--records FILE`` takes the boards of measured records and makes their stacks equal: on every image the stacks' results are
dealt out anew. It prints how often any stack is marked as worse by the best set, and how often it would be by the interval
of its difference to the best alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import norm
from tabulate import tabulate

from harness.leaderboard.board.boards import competes
from harness.leaderboard.board.from_file import boards_of
from harness.leaderboard.stats.best_set import best_set
from harness.leaderboard.stats.difference import difference

STACKS = 13
# (images, seeds), spread of a stack over seeds in points, share of images' luck that stacks have in common.
SIZES = [(10_000, 3), (2_000, 3), (500, 3), (500, 5), (500, 1)]
SPREADS = [0.0, 0.3, 1.0]
LIKENESS = [0.9, 0.99]


def world(
    generator: np.random.Generator, means: np.ndarray, images: int, seeds: int, spread: float, alike: float
) -> np.ndarray:
    """Correctness ``(stacks, seeds, images)`` by a probit model.

    Args:
        generator: Of the draws.
        means: True accuracy of each stack, 0 to 1.
        images: Number of images.
        seeds: Number of seeds.
        spread: Standard deviation of a stack's accuracy over seeds, in points.
        alike: Share of the latent variance that all stacks share on an image; half of the rest is the stack's own on that
            image, half is new with each seed.
    """
    own = np.sqrt((1 - alike) / 2)
    shape = (len(means), seeds, images)
    latent = np.sqrt(alike) * generator.normal(size=images) + own * generator.normal(size=(len(means), 1, images))
    latent = latent + own * generator.normal(size=shape)
    accuracy = means[:, None] + spread / 100 * generator.normal(size=(len(means), seeds))
    found: np.ndarray = latent < norm.ppf(np.clip(accuracy, 1e-3, 1 - 1e-3))[..., None]
    return found


def coverage(generator: np.random.Generator, gap: float, boards: int, **setting: float) -> float:
    """Share of intervals that contain the true difference, in percent."""
    means = np.array([0.85, 0.85 + gap / 100])
    inside = 0
    for _ in range(boards):
        first, second = world(generator, means, **setting)  # type: ignore[arg-type]
        inside += difference(first, second).interval.contains(gap)
    return 100 * inside / boards


def false_marks(generator: np.random.Generator, boards: int, **setting: float) -> float:
    """Share of boards of equal stacks that leave any of them out of the best set, in percent."""
    marked = 0
    for _ in range(boards):
        cube = world(generator, np.full(STACKS, 0.85), **setting)  # type: ignore[arg-type]
        marked += len(best_set({str(index): one for index, one in enumerate(cube)})) < STACKS
    return 100 * marked / boards


def rows(boards: int) -> Iterator[list[object]]:
    """One row per setting."""
    for (images, seeds), spread, alike in product(SIZES, SPREADS, LIKENESS):
        if seeds == 1 and spread:
            continue  # one seed says nothing about the spread over seeds, and the page says so
        generator = np.random.default_rng(0)
        setting: dict[str, float] = {"images": images, "seeds": seeds, "spread": spread, "alike": alike}
        null, gap = (coverage(generator, points, 4 * boards, **setting) for points in (0.0, 1.0))
        yield [images, seeds, spread, alike, null, gap, false_marks(generator, boards, **setting)]


def dealt(generator: np.random.Generator, cube: np.ndarray) -> np.ndarray:
    """The same results ``(stacks, seeds, images)`` with the stacks' names dealt out anew on every image."""
    order = np.argsort(generator.random((cube.shape[0], 1, cube.shape[2])), axis=0)
    return np.take_along_axis(cube, np.broadcast_to(order, cube.shape), axis=0)


def behind_the_best(cube: np.ndarray) -> bool:
    """Whether the interval of any stack's difference to the best, uncorrected for choosing it, leaves out zero."""
    best = int(cube.mean((1, 2)).argmax())
    others = (one for index, one in enumerate(cube) if index != best)
    return any(difference(cube[best], one).verdict == "worse" for one in others)


def measured(records: Path, boards: int) -> Iterator[list[object]]:
    """One row per board of a file of records."""
    with boards_of(records) as (found, evidence):
        for board in found:
            for network in board.networks:
                cells = [cell for (one, other), cell in board.cells.items() if other == network and competes(one, cell)]
                known = [one for cell in cells if (one := evidence.correct(cell.ids)) is not None]
                yield [network.label, board.bits, *_false_marks_of(np.stack(known), boards)]


def _false_marks_of(cube: np.ndarray, boards: int) -> list[object]:
    generator = np.random.default_rng(0)
    alone = chosen = 0
    for _ in range(boards):
        equal = dealt(generator, cube)
        alone += behind_the_best(equal)
        chosen += len(best_set(dict(enumerate(equal)))) < len(equal)
    return [*cube.shape, 100 * alone / boards, 100 * chosen / boards]


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=400, help="simulated boards per row (default: 400)")
    parser.add_argument("--records", metavar="FILE", type=Path, help="equal stacks made of measured records")
    given = parser.parse_args()
    boards: int = given.boards
    if given.records is not None:
        headers = ["network", "bits", "stacks", "seeds", "images", "false mark by interval %", "by best set %"]
        print(tabulate(measured(given.records, boards), headers=headers, floatfmt=".1f"))
        return
    headers = ["images", "seeds", "spread", "alike", "covers 0 %", "covers 1 point %", "boards with a false mark %"]
    print(tabulate(rows(boards), headers=headers, floatfmt=".1f"))


if __name__ == "__main__":
    main()
