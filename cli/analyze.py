"""`attnlab analyze`."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from .completion import a_length, attacks, lists_of, names_of, one_of
from .console import image_progress
from .options import FORMAT, LIME_GT, STRENGTH, attack_options, shared_options, whole_numbers
from .tables import show_run


@click.command()
@shared_options
@click.option(
    "--method",
    default="grad-cam",
    show_default=True,
    shell_complete=lists_of("methods"),
    callback=one_of("methods"),
    help="`grad-cam` (Tables 1-3), `lime` (Tables 4, 5) or both, with a comma between them; `attnlab list methods` "
    "names what there is.",
)
@click.option(
    "--layer",
    help="Module whose output Grad-CAM reads; by default the last feature map before the pool, of a vision "
    "transformer the first norm of its last block.",
)
@click.option(
    "--attack",
    default="stepll",
    show_default=True,
    shell_complete=names_of("attacks"),
    callback=attacks(suites=False),
    help="Attack: one of fgsm, stepll, iter-stepll, pgd, cw, mi-fgsm, ni-fgsm; a number behind any but the first two "
    "is its number of steps, +a3 behind any adds the attention deviation.",
)
@click.option(
    "--eps",
    callback=a_length("eps", several=True),
    help="L-infinity budget, pixels in [0, 1], as a number or a fraction; several with commas between them "
    "(4/255,8/255,16/255) share the clean pass, and the tables gain an eps column. By default 0.3 for mnist, 8/255 for "
    "cifar10, 16/255 for others.",
)
@partial(attack_options, options=STRENGTH)
@click.option(
    "--label-smoothing",
    type=float,
    default=0.0,
    show_default=True,
    help="Share of the cross-entropy's target that is spread over all classes, in [0, 1).",
)
@click.option(
    "--target",
    default="",
    shell_complete=names_of("targets"),
    callback=one_of("targets"),
    help="Class the maps explain: `true` (the label, clean and adversarial) or `predicted` (each image's own); "
    "by default true for grad-cam and predicted for lime.",
)
@click.option(
    "--geometry",
    default="squash",
    show_default=True,
    shell_complete=names_of("geometries"),
    callback=one_of("geometries"),
    help="How images reach the model's size: `squash` (aspect not kept) or `crop` (shorter side, then the centre).",
)
@click.option("--seed", default=0, show_default=True, help="Of everything random, together with the image's name.")
@click.option("--stratify", is_flag=True, help="Let --limit take images of all classes in turn, drawn by --seed.")
@click.option(
    "--lime-samples",
    default="1000",
    show_default=True,
    help="Perturbed images an explanation; `auto` stops once the areas have held for 300, at 1000 at the latest.",
)
@click.option(
    "--lime-superpixels",
    default="auto",
    show_default=True,
    help="quickshift, slic or grid; auto: slic for images of one channel or a shorter side of at most 64 pixels, in "
    "which quickshift finds few, else quickshift.",
)
@click.option("--lime-hide", default="grey", show_default=True, help="What hides a superpixel: grey or its own mean.")
@click.option(
    "--lime-segments",
    default="own",
    show_default=True,
    help="Adversarial images are cut on their `own`, or `shared` the clean image's superpixels.",
)
@click.option(
    "--features",
    default="8,10",
    show_default=True,
    callback=whole_numbers,
    help="Numbers of superpixels in Tables 4 and 5.",
)
@LIME_GT
@click.option(
    "--lime-floor/--no-lime-floor",
    default=True,
    show_default=True,
    help="Explain clean images a second time from another seed: the noise floor of Tables 4 and 5.",
)
@click.option("--lime-batch-size", type=click.IntRange(min=1), help="Samples a pass; by default the fastest found.")
@click.option(
    "--lime-compile",
    is_flag=True,
    help="Let torch.compile make LIME's passes: up to a minute at first, then faster (MobileNetV2 by a quarter); needs "
    "a C++ compiler, on a GPU Triton.",
)
@FORMAT
def analyze(out: Path | None, features: list[int], lime_gt: str, form: str | None, **options: Any) -> None:
    """Maps, IoU with boxes, and IoU between original and adversarial images: Tables 1-5.

    With no option it analyses the built-in scenes with the built-in ResNet8. An image counts as `succeed` where the
    attack changes the prediction, as `fail` where it does not. LIME explains the images that the tables use: those
    classified correctly. The run folder holds run.json, records/*.parquet, skipped.csv and tables/*.csv and *.tex.

    \b
    attnlab analyze --data imagenet --root /data/imagenet --split val
    attnlab analyze --data folder --root mine --model net.py:build --eps 4/255,8/255
    attnlab analyze --data imagenet --root /data/imagenet --method grad-cam,lime --limit 500 --stratify
    """  # noqa: D301 - click wants the backspace itself
    from attnlab.pipelines.job import prepare

    job = prepare(out=out, features=tuple(features), **options)
    if job.cost:
        click.echo(job.cost, err=True)
    with image_progress(len(job.positions), job.out) as progress:
        job.run(progress)
    show_run(job.out, features=features, lime_gt=lime_gt, form=form)
