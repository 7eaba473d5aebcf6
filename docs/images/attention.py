"""Draw docs/images/attention.jpg: what a network looks at in a photograph, before and after an attack.

    python docs/images/attention.py --model mobilenet_v2

The photograph is scikit-image's `coffee` (CC0), the box drawn around cup and saucer by hand. The picture in the
repository is of MobileNetV2 with the weights that docs/results/imagenet-500.md is about.
"""

from dataclasses import replace
from pathlib import Path

import click
import matplotlib
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from PIL import Image
from skimage import data

from attnlab.attacks.parse import parse_attack, parse_eps
from attnlab.attacks.pgd import perturb
from attnlab.attention.gradcam import grad_cam
from attnlab.attention.map_metrics import map_mask_iou, normalize_max, resize_maps
from attnlab.boxes import mask_of
from attnlab.data.placing import place
from attnlab.models import load_model

#: of the cup with its saucer in the photograph of 600x400 pixels, half-open x0, y0, x1, y1
BOX = (84, 8, 484, 388)
CLASS = 967


@click.command()
@click.option("--model", default="mobilenet_v2", show_default=True, help="Of ImageNet's classes.")
@click.option("--attack", default="pgd10", show_default=True)
@click.option("--eps", default="4/255", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).with_suffix(".jpg"))
def main(model: str, attack: str, eps: str, out: Path) -> None:
    """Draw the picture."""
    classifier = load_model(model)
    pixels, boxes, _ = place(Image.fromarray(data.coffee()), [BOX], classifier.input_size, "squash")
    image, label = pixels[None] / 255, torch.tensor([CLASS])
    attacked = perturb(classifier, image, label, replace(parse_attack(attack), eps=parse_eps(eps)))
    both = torch.cat([image, attacked])
    maps = grad_cam(classifier, both, label.repeat(2))
    ious = map_mask_iou(maps, mask_of(torch.from_numpy(boxes), *classifier.input_size).expand(2, -1, -1)).tolist()
    with torch.no_grad():
        confidences = classifier(both).softmax(1)[:, CLASS].tolist()
    matplotlib.rcParams["font.size"] = 12
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.62), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 0.97))
    kinds = ("photograph", f"attacked ({attack}, eps {eps})")
    for number, (kind, picture) in enumerate(zip(kinds, both.permute(0, 2, 3, 1).numpy(), strict=True)):
        heat = resize_maps(normalize_max(maps[number][None]), classifier.input_size)[0].numpy()
        plain, attention = axes[2 * number : 2 * number + 2]
        plain.imshow(picture)
        plain.set_title(f"{kind}\nespresso: {confidences[number]:.0%}")
        attention.imshow(_overlay(picture, heat))
        attention.set_title(f"attention to “espresso”\nIoU with the box: {ious[number]:.2f}")
    x0, y0, x1, y1 = boxes[0].tolist()
    for axis in axes:
        axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="white", linewidth=2))
        axis.set_axis_off()
    figure.savefig(out, dpi=125, pil_kwargs={"quality": 88, "subsampling": 0, "optimize": True})
    click.echo(out)


def _overlay(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The picture in grey under the map's colours, the stronger the more of them."""
    grey = picture.mean(2, keepdims=True).repeat(3, 2)
    colours = plt.get_cmap("inferno")(heat)[..., :3]
    mixed = grey * 0.55 * (1 - 0.75 * heat[..., None]) + colours * (0.35 + 0.65 * heat[..., None]) * heat[..., None]
    return mixed.clip(0, 1)


if __name__ == "__main__":
    main()
