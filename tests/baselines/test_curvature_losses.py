"""Losses weighted by curvatures: their formulas against independent ones in double precision."""

from types import SimpleNamespace

import pytest
import torch

from harness.baselines.engines.curvature_losses import (
    LeastSquares,
    perturbation_curvature,
    started_at_two,
    weighted,
)
from harness.baselines.engines.reconstruction_losses import mse


class Gradients:
    """Gradients of a loss that is known in closed form, by the output of one segment."""

    def __init__(self, formula):
        self.formula = formula

    def of(self, output, number, after):
        return self.formula(output, number)


def visit(full, targets):
    return SimpleNamespace(full=full, targets=targets, index=0)


def test_the_perturbation_curvature_of_a_quadratic_is_its_rows_sums():
    """``g = A z`` moves by ``A 1`` times the step; images of an uneven last batch weigh the same."""
    generator = torch.Generator().manual_seed(1)
    hessian = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    scale = torch.rand(10, generator=generator, dtype=torch.float64) + 0.5  # a Hessian of its own for each image
    targets = [one.reshape(-1, 2, 3) for one in torch.randn(10, 6, generator=generator, dtype=torch.float64).split(4)]
    parts = scale.split(4)

    def gradient(output, number):
        return (output.flatten(1) @ hessian.T * parts[number][:, None]).reshape(output.shape)

    found = perturbation_curvature(Gradients(gradient), visit(None, targets), step=1e-3)
    expected = 2e-3 * hessian.sum(1).abs() * scale.mean()
    assert torch.allclose(found.flatten(), expected, rtol=1e-6)
    output, target = torch.randn(5, 2, 3), torch.randn(5, 2, 3)
    loss = weighted(found.float())(output, target, None)
    by_hand = sum(
        float((output[n, i, j] - target[n, i, j]) ** 2 * found[i, j]) for n in range(5) for i in range(2) for j in range(3)
    )
    assert float(loss) == pytest.approx(by_hand / 30, rel=1e-5)


def test_a_loss_starts_at_two_and_keeps_its_shape():
    loss, target = started_at_two(mse), torch.zeros(3, 4)
    first = loss(torch.full((3, 4), 0.5), target, None)
    assert float(first) == pytest.approx(2)
    assert float(loss(torch.full((3, 4), 1.0), target, None)) == pytest.approx(8)
    assert float(started_at_two(mse)(target, target, None)) == 0, "an output without error divides by nothing"


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(2)
    targets = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    moves = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    return targets, moves, torch.randn(40, 5, generator=generator, dtype=torch.float64)


def least_squares(targets, moves, gradients):
    """The loss on samples whose gradients and changes are given."""
    batches = list(zip(targets.split(16), moves.split(16), gradients.split(16), strict=True))
    outputs = iter([target + move for target, move, _ in batches])
    loss = LeastSquares(
        Gradients(lambda _, number: batches[number][2]),
        visit([None] * len(batches), [target for target, _, _ in batches]),
        lambda _: next(outputs),
    )
    return loss, loss(targets + moves, targets, None)


def test_the_diagonal_and_the_direction_are_those_of_a_solver(samples):
    targets, moves, noise = samples
    gradients = moves * torch.tensor([0.1, 0.7, 2.0, 0.3, 1.1]) + 0.05 * noise
    loss, value = least_squares(targets, moves, gradients)
    for column in range(5):
        solved = torch.linalg.lstsq(moves[:, column : column + 1], gradients[:, column : column + 1]).solution
        assert float(loss.diagonal[column]) == pytest.approx(float(solved), rel=1e-5)
    roots = (gradients * moves).sum(1).clamp_min(0).sqrt()[:, None]
    solved = torch.linalg.lstsq(roots, gradients).solution[0]
    assert torch.allclose(loss.direction.double(), solved, rtol=1e-5)
    along = moves @ solved
    by_hand = 0.5 * ((moves.square() * loss.diagonal.double()).sum(1) + along.square()).mean()
    assert float(value) == pytest.approx(float(by_hand), rel=1e-5)


def test_a_diagonal_or_rank_one_hessian_is_recovered(samples):
    targets, moves, _ = samples
    diagonal = torch.tensor([0.2, 0.0, 3.0, 1.0, 0.5], dtype=torch.float64)
    loss, _ = least_squares(targets, moves, moves * diagonal)
    assert torch.allclose(loss.diagonal.double(), diagonal, atol=1e-6)
    direction = torch.tensor([1.0, 0.5, 0.2, 2.0, 0.7], dtype=torch.float64)
    towards = moves * torch.sign(moves @ direction)[:, None]  # the root leaves the sign of u . dz open
    loss, _ = least_squares(targets, towards, (towards @ direction)[:, None] * direction)
    assert torch.allclose(loss.direction.double(), direction, rtol=1e-5)


def test_negative_curvature_counts_as_none(samples):
    targets, moves, _ = samples
    loss, value = least_squares(targets, moves, -moves)
    assert not loss.diagonal.any()
    assert not loss.direction.any()
    assert float(value) == 0
