"""Choose a width for each site under a budget: the problem of mixed precision, and three solvers for it.

What a choice costs is a sum over sites, from a table. What it spends is a sum over sites too, and over products of two
sites where work is counted in bit-operations (multiply-accumulates times both widths).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp
from scipy.sparse import lil_array

from harness.errors import IncompatibleError

Choice = tuple[int, ...]  # for each site an index into the widths
SLACK = 1e-9  # of the budget: rounding of sums
GAP = 1e-6  # of the optimum


@dataclass(frozen=True)
class Allocation:
    """One problem.

    Attributes:
        sites: Names.
        widths: Possible widths in bits, the narrowest first.
        cost: What each width of each site costs, ``(sites, widths)``; smaller is better.
        spent: What each width of each site spends by itself, ``(sites, widths)``.
        products: Pairs of sites, and what one bit of the one times one bit of the other spends.
        budget: What these sites may spend.
        fixed: What others spend already, for messages.
    """

    sites: tuple[str, ...]
    widths: tuple[int, ...]
    cost: NDArray[np.float64]
    spent: NDArray[np.float64]
    products: tuple[tuple[int, int, float], ...]
    budget: float
    fixed: float = 0.0

    def cost_of(self, choice: Choice) -> float:
        """What a choice costs."""
        return float(self.cost[np.arange(len(choice)), list(choice)].sum())

    def spent_by(self, choice: Choice) -> float:
        """What a choice spends."""
        own = float(self.spent[np.arange(len(choice)), list(choice)].sum())
        return own + sum(rate * self.widths[choice[a]] * self.widths[choice[b]] for a, b, rate in self.products)

    def fits(self, choice: Choice) -> bool:
        """Whether a choice keeps the budget."""
        return self.spent_by(choice) <= self.most

    @property
    def most(self) -> float:
        """The budget, with room for rounding."""
        return self.budget + SLACK * abs(self.budget)

    def extra(self, choice: Choice, site: int, width: int) -> float:
        """What a choice spends more when one site gets another width."""
        change = self.widths[width] - self.widths[choice[site]]
        own = float(self.spent[site, width] - self.spent[site, choice[site]])
        return own + sum(rate * self.widths[choice[other]] * change for other, rate in self._partners[site])

    @cached_property
    def _partners(self) -> dict[int, list[tuple[int, float]]]:
        found: dict[int, list[tuple[int, float]]] = {site: [] for site in range(len(self.sites))}
        for left, right, rate in self.products:
            found[left].append((right, rate))
            found[right].append((left, rate))
        return found

    @property
    def narrowest(self) -> Choice:
        """The narrowest width everywhere.

        Raises:
            IncompatibleError: Not even that keeps the budget.
        """
        choice = (0,) * len(self.sites)
        if not self.fits(choice):
            least = self.spent_by(choice) + self.fixed
            raise IncompatibleError(
                f"a budget of {self.budget + self.fixed:.6g} is below what the narrowest widths spend, {least:.6g}",
                f"use a budget of at least {least:.6g}, or a smaller lowest=",
            )
        return choice


def greedy(problem: Allocation) -> Choice:
    """From the narrowest widths on, widen the site that saves most cost for what it spends, as long as one fits.

    Raises:
        IncompatibleError: No choice keeps the budget.
    """
    choice = problem.narrowest
    while (better := _best_step(problem, choice)) is not None:
        choice = better
    return choice


def _best_step(problem: Allocation, choice: Choice) -> Choice | None:
    best, merit, left = None, 0.0, problem.most - problem.spent_by(choice)
    for site, now in enumerate(choice):
        for wider in range(now + 1, len(problem.widths)):
            saved = problem.cost[site, now] - problem.cost[site, wider]
            extra = problem.extra(choice, site, wider)
            if saved <= 0 or extra > left:
                continue
            value = saved / max(extra, 1e-300)
            if value > merit:
                best, merit = (*choice[:site], wider, *choice[site + 1 :]), value
    return best


def solve(problem: Allocation) -> Choice:
    """The choice of least cost, as a mixed-integer linear program (scipy's ``milp``, the solver HiGHS).

    One variable says whether a site has a width. For a product of two sites one says whether they have two widths: these sum
    to those of either site, so they are whole when the sites' are.

    Raises:
        IncompatibleError: No choice keeps the budget.
    """
    problem.narrowest  # noqa: B018 (refuses a budget that nothing keeps)
    sites, widths = problem.cost.shape
    pairs = len(problem.products)
    count = sites * widths + pairs * widths**2
    scale = max(float(problem.cost.max()), 1e-300)  # the solver's tolerances are absolute
    objective = np.concatenate([(problem.cost / scale).ravel(), np.zeros(pairs * widths**2)])
    result: OptimizeResult = milp(
        objective,
        constraints=[_one_width_each(sites, widths, count), *_agreeing(problem, count), _budget(problem, count)],
        integrality=np.concatenate([np.ones(sites * widths), np.zeros(pairs * widths**2)]),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": GAP},
    )
    if result.x is None:
        budget = problem.budget + problem.fixed
        raise IncompatibleError(f"the solver found no widths that keep a budget of {budget:.6g}: {result.message}")
    table = result.x[: sites * widths].reshape(sites, widths)
    choice = tuple(int(column) for column in table.argmax(axis=1))
    if problem.fits(choice):
        return choice
    return _narrowed(problem, choice)  # the solver's own tolerance is wider than that of sums


def _narrowed(problem: Allocation, choice: Choice) -> Choice:
    """Narrow what costs least by it, until the budget is kept."""
    now = list(choice)
    while not problem.fits(tuple(now)):
        steps = [
            (problem.cost[site, width - 1] - problem.cost[site, width], site) for site, width in enumerate(now) if width
        ]
        now[min(steps)[1]] -= 1
    return tuple(now)


def _one_width_each(sites: int, widths: int, count: int) -> LinearConstraint:
    matrix = lil_array((sites, count))
    for site in range(sites):
        matrix[site, site * widths : (site + 1) * widths] = 1
    return LinearConstraint(matrix.tocsr(), 1, 1)


def _agreeing(problem: Allocation, count: int) -> list[LinearConstraint]:
    """The widths of a product are those of its two sites."""
    sites, widths = problem.cost.shape
    if not problem.products:
        return []
    matrix = lil_array((2 * widths * len(problem.products), count))
    row = 0
    for number, (left, right, _) in enumerate(problem.products):
        start = sites * widths + number * widths**2
        for width in range(widths):
            matrix[row, start + width * widths : start + (width + 1) * widths] = 1
            matrix[row, left * widths + width] = -1
            matrix[row + 1, start + width : start + widths**2 : widths] = 1
            matrix[row + 1, right * widths + width] = -1
            row += 2
    return [LinearConstraint(matrix.tocsr(), 0, 0)]


def _budget(problem: Allocation, count: int) -> LinearConstraint:
    scale = max(abs(problem.budget), 1e-300)
    own = (problem.spent / scale).ravel()
    squares = np.outer(problem.widths, problem.widths).ravel()
    pairs = [rate / scale * squares for _, _, rate in problem.products]
    row = np.concatenate([own, *pairs])
    assert len(row) == count
    return LinearConstraint(row.reshape(1, -1), -np.inf, problem.budget / scale)


def evolve(
    problem: Allocation,
    start: Choice,
    fitness: Callable[[Choice], float],
    draw: Callable[[int], int],
    rounds: int,
    children: int,
) -> tuple[Choice, list[float]]:
    """Search from a start by what the network itself says: children widen one site and narrow others until they fit.

    Args:
        problem: What may be chosen.
        start: A choice that keeps the budget.
        fitness: Judges a choice; larger is better.
        draw: A random whole number below the given one.
        rounds: How often the best so far has children.
        children: How many each time.

    Returns:
        The best choice, never worse than the start, and the best fitness at the start and after every round.
    """
    best, known = start, {start: fitness(start)}
    curve = [known[start]]
    for _ in range(rounds):
        for child in [_child(problem, best, draw) for _ in range(children)]:
            if child not in known:
                known[child] = fitness(child)
        best = max(known, key=lambda choice: known[choice])
        curve.append(known[best])
    return best, curve


def _child(problem: Allocation, parent: Choice, draw: Callable[[int], int]) -> Choice:
    """A neighbour that keeps the budget; the parent itself where there is none."""
    child = list(parent)
    raised = draw(len(child))
    if child[raised] + 1 < len(problem.widths):
        child[raised] += 1
    while not problem.fits(tuple(child)):
        open_sites = [site for site, width in enumerate(child) if width and site != raised]
        if not open_sites:
            return parent
        child[open_sites[draw(len(open_sites))]] -= 1
    return tuple(child)


def brute_force(problem: Allocation, choices: Sequence[Choice]) -> Choice:
    """The cheapest of given choices that keep the budget; for tests of small problems."""
    return min((choice for choice in choices if problem.fits(choice)), key=problem.cost_of)
