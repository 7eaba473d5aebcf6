"""`attnlab analyze`."""

from pathlib import Path

import click

from .console import image_progress
from .options import shared_options
from .tables import show_run


@click.command()
@shared_options
@click.option("--layer", help="Module whose output Grad-CAM reads; by default the last feature map before the pool.")
@click.option("--attack", default="stepll", show_default=True, help="Attack; `attnlab list` names them.")
@click.option(
    "--eps",
    default="16/255",
    show_default=True,
    help="L-infinity budget of pixels in [0, 1], as a number or a fraction; several with commas between them "
    "(4/255,8/255,16/255) share the clean pass, and the tables gain an eps column.",
)
@click.option("--label-smoothing", type=float, default=0.0, show_default=True, help="Of the attack's target.")
@click.option(
    "--target",
    default="true",
    show_default=True,
    help="Class the maps explain: `true` (the label, clean and adversarial) or `predicted` (each image's own).",
)
@click.option(
    "--geometry",
    default="squash",
    show_default=True,
    help="How images reach the model's size: `squash` (aspect not kept) or `crop` (shorter side, then the centre).",
)
def analyze(
    data: str,
    root: Path | None,
    split: str,
    model: str | None,
    weights: str,
    layer: str | None,
    attack: str,
    eps: str,
    label_smoothing: float,
    target: str,
    geometry: str,
    device: str,
    precision: str,
    layout: str,
    batch_size: int | None,
    workers: int | None,
    limit: int | None,
    out: Path | None,
) -> None:
    r"""Maps, IoU with boxes, and IoU between original and adversarial images: Tables 1-3.

    With no option it analyses the built-in scenes with the built-in ResNet8. An image counts as `succeed` where the
    attack changes the prediction, as `fail` where it does not. The run folder holds run.json, records/*.parquet,
    skipped.csv and tables/*.csv and *.tex.

    \b
    attnlab analyze --data imagenet --root /data/imagenet --split val
    attnlab analyze --data folder --root mine --model net.py:build --eps 4/255,8/255
    """
    from dataclasses import replace

    from attnlab.attacks import ATTACKS
    from attnlab.attacks.pgd import parse_eps
    from attnlab.data import load_data
    from attnlab.errors import expect_one_of
    from attnlab.models import load_model
    from attnlab.pipelines import defaults
    from attnlab.pipelines.analyze import Settings
    from attnlab.pipelines.analyze import analyze as run_analysis

    expect_one_of(attack, ATTACKS, "--attack")
    settings = Settings(
        attack=replace(ATTACKS[attack], label_smoothing=label_smoothing),
        budgets=tuple(parse_eps(text) for text in eps.split(",")),
        target=target,
        geometry=geometry,
    )
    images = load_data(data, root, split)
    model = model or defaults.model_for(data)
    out = out or Path("runs") / f"{data}-{split}-{Path(model).name.replace(':', '-')}"
    place = defaults.choose_device(device)
    classifier = load_model(model, weights, layer).place(place, precision, layout)
    with image_progress(min(len(images.image_ids), limit or len(images.image_ids)), out) as progress:
        run_analysis(
            classifier,
            images,
            out,
            settings,
            description={
                "data": data,
                "split": split,
                "model": model,
                "weights": weights,
                "attack_name": attack,
                "precision": precision,
                "layout": layout,
            },
            batch_size=batch_size or defaults.batch_size(place, classifier.input_size),
            workers=defaults.workers(images) if workers is None else workers,
            limit=limit,
            progress=progress,
        )
    show_run(out)
