"""`attnlab analyze`."""

import click

from attnlab.config import AnalyzeConfig

from .from_config import SMALLEST, options_of
from .options import FORMAT
from .run_job import run_job


@click.command()
@options_of(AnalyzeConfig, smoke=SMALLEST)
@FORMAT
def analyze(config: AnalyzeConfig, form: str | None) -> None:
    """Measure attention maps: their IoU with ground truth, and between original and adversarial images (Tables 1-5).

    With no option it analyses the built-in scenes with the built-in ResNet8. An image counts as `succeed` where the
    attack changes the prediction, as `fail` where it does not (under `explain`: `lost` and `kept`). LIME explains the
    images that the tables use: those classified correctly. The run folder holds run.json, records/*.parquet,
    skipped.csv and tables/*.csv and *.tex.

    \b
    attnlab analyze --data imagenet --root /data/imagenet --split val
    attnlab analyze --data folder --root mine --model net.py:build --eps 4/255,8/255
    attnlab analyze --data imagenet --root /data/imagenet --method grad-cam,lime --limit 500 --stratify
    """  # noqa: D301 - click wants the backspace itself
    run_job(config, features=list(config.lime.features), lime_gt=config.lime.gt, form=form)
