"""Budgets as people write them: numbers, fractions, and what may be read in two ways."""

import pytest
from common import error_of

from attnlab.attacks.parse import parse_budgets, parse_eps
from attnlab.errors import UserError


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), (" 0.3 ", 0.3), ("0", 0.0), ("1", 1.0)])
def test_eps_is_a_number_or_a_fraction(text, value):
    assert parse_eps(text) == value


@pytest.mark.parametrize("text", ["eight", "8/0", "8/255/2", "", "nan", "-0.1", "256"])
def test_eps_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="expected eps"):
        parse_eps(text)


def test_eps_in_grey_levels_is_refused_with_a_hint():
    with pytest.raises(UserError, match="did you mean 8/255"):
        parse_eps("8")


def test_a_decimal_comma_is_refused_with_both_readings():
    assert error_of(parse_budgets, "0,05") == (
        "expected eps with a decimal point, got '0,05'; did you mean 0.05? Two budgets, 0 and 05, are written 0.0,05.0"
    )
    assert error_of(parse_eps, "0,05").endswith("got '0,05'; did you mean 0.05?")
    assert parse_budgets("0,8/255") == (0, 8 / 255)
    assert parse_budgets("0.0,1.0") == (0, 1)


@pytest.mark.parametrize(
    ("text", "levels"), [("0.031", 8), ("0.0314", 8), ("8/256", 8), ("0.063", 16), ("0.062", 16), ("0.016", 4)]
)
def test_a_number_that_looks_like_grey_levels_is_taken_as_it_is_and_told(text, levels):
    with pytest.warns(UserWarning, match=f"^eps {text} is not {levels}/255 = .*; write {levels}/255 for that$"):
        assert parse_eps(text) == pytest.approx(float(text) if "/" not in text else levels / 256)


@pytest.mark.parametrize("text", ["8/255", "0.03", "0.3", "0.05", "0.125", "0.031372549", "0", "0.5"])
def test_other_numbers_are_taken_without_a_word(text, recwarn):
    parse_eps(text)
    assert not recwarn.list
