"""The rules of APGD and Square, each by hand: checkpoints, step size, objectives, sizes of squares."""

import math
from fractions import Fraction
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnlab.attacks.apgd import checkpoints, dlr_targeted, rivals, to_halve
from attnlab.attacks.square import margin, side_of_square


def test_checkpoints_of_100_steps_are_the_published_ones():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]


@given(steps=st.integers(1, 2000))
def test_checkpoints_are_the_papers_recursion_in_exact_arithmetic(steps):
    shares = [Fraction(0), Fraction(22, 100)]
    while (following := shares[-1] + max(shares[-1] - shares[-2] - Fraction(3, 100), Fraction(6, 100))) <= 1:
        shares.append(following)
    assert checkpoints(steps) == sorted({math.ceil(share * steps) for share in shares[1:]})


@pytest.mark.parametrize(
    ("history", "last", "now", "halved", "expected"),
    [
        ([0, 1, 2, 3, 4], 0, 4, False, False),  # every step rises
        ([0, 1, 2, 3, 1], 0, 4, False, False),  # 3 of 4 are no smaller share than rho
        ([0, 1, 2, 1, 1], 0, 4, False, True),  # condition 1: 2 of 4 are
        ([0, 1, 2, 1, 1], 0, 4, True, True),  # and it asks for nothing else
        ([9, 1, 2, 3, 4, 5], 1, 5, False, True),  # condition 2: all four rise, none to a new best
        ([9, 1, 2, 3, 4, 5], 1, 5, True, False),  # unless the last checkpoint halved already
        ([9, 1, 2, 3, 4, 10], 1, 5, False, False),  # a new best
        ([0, 9, 1, 2, 3, 4], 1, 5, False, True),  # the best was reached at the last checkpoint itself
        ([0, 1, 2, 3, 4, -9], 0, 4, False, False),  # what comes after this checkpoint is not asked
        ([5, 4, 3, 4, 5, 6], 2, 5, False, False),  # what came before the last one is only the best to beat
    ],
)
def test_step_is_halved_by_the_papers_two_conditions(history, last, now, halved, expected):
    answer = to_halve(torch.tensor([history, history]).float(), last, now, torch.tensor([halved, halved]))
    assert answer.tolist() == [expected, expected]


def test_dlr_is_equation_6():
    logits, labels, targets = torch.tensor([[5.0, 3, 2, 1, 0], [1.0, 0, 5, 2, 3]]), torch.tensor([0, 2]), [1, 0]
    expected = torch.tensor([-(5 - 3) / (5 - (2 + 1) / 2), -(5 - 1) / (5 - (2 + 1) / 2)])
    value = partial(dlr_targeted, labels=labels, targets=torch.tensor(targets))
    torch.testing.assert_close(value(logits), expected)
    torch.testing.assert_close(value(3 * logits - 8), expected)


def test_rivals_are_ranked_without_the_label():
    logits, labels = torch.tensor([[5.0, 3, 4, 1], [5.0, 3, 4, 1]]), torch.tensor([0, 2])
    assert [rivals(logits, labels, rank).tolist() for rank in (1, 2, 3)] == [[2, 0], [1, 1], [3, 3]]


def test_margin_is_the_label_over_the_best_other():
    logits = torch.tensor([[5.0, 3, 4], [5.0, 3, 4]])
    assert margin(logits, torch.tensor([0, 2])).tolist() == [1, -1]


@pytest.mark.parametrize(
    ("iteration", "horizon", "size", "side"),
    [
        (0, 10_000, (100, 100), 89),  # sqrt(0.8 * 100 * 100)
        (10, 10_000, (100, 100), 89),
        (11, 10_000, (100, 100), 63),  # sqrt(0.4 * 100 * 100)
        (6, 5_000, (100, 100), 63),  # the schedule scaled by the queries
        (51, 10_000, (100, 100), 45),
        (201, 10_000, (100, 100), 32),
        (501, 10_000, (100, 100), 22),
        (9_999, 10_000, (100, 100), 4),
        (0, 10_000, (8, 32), 8),
        (9_999, 10_000, (8, 8), 1),
    ],
)
def test_squares_shrink_by_the_published_schedule(iteration, horizon, size, side):
    assert side_of_square(iteration, horizon, *size) == side
