"""The page that has a row per format names data sets, models and options that there are, and leaves none out."""

import re
from pathlib import Path

import click
import pytest

from attnlab.data import DATASETS
from attnlab.models.names import plain_names
from attnlab.models.zoos import PLAIN, ZOOS
from attnlab_cli.app import app

PAGE = (Path(__file__).parents[1] / "docs/how-to/i-have.md").read_text()
CODES = re.findall(r"`([^`]+)`", PAGE)


def said(option: str) -> list[str]:
    """What stands behind an option on the page, placeholders aside."""
    values = {value for code in CODES for value in re.findall(rf"--{option} (\S+)", code)}
    return sorted(value for value in values if not value.isupper())


@pytest.mark.parametrize("name", said("data"))
def test_a_data_set_of_the_page_is_known(name):
    assert DATASETS.expect(name)


def test_every_data_set_that_is_not_built_in_has_a_row():
    words = {re.sub(r":.*", "", word) for word in re.findall(r"[\w:.-]+", PAGE.lower())}
    assert {name.partition(":")[0] for name, spec in DATASETS.items() if spec.holds} <= words


@pytest.mark.parametrize("name", said("model"))
def test_a_model_of_the_page_is_of_a_zoo_a_file_or_a_folder(name):
    prefix, colon, _ = name.partition(":")
    known = prefix in ZOOS or prefix.endswith(".py") if colon else name in plain_names() or "/" in name
    assert known


def test_every_zoo_has_a_row():
    assert set(ZOOS) - {PLAIN} <= {name.partition(":")[0] for name in said("model")}


def test_every_option_of_the_page_is_one_of_analyze():
    parsed = click.Context(app).command.get_command(click.Context(app), "analyze")
    options = {written for parameter in parsed.params for written in parameter.opts}
    assert {written for code in CODES for written in re.findall(r"--[\w-]+", code)} <= options
