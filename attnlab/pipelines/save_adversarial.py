"""Adversarial images as files: float arrays, and 8-bit PNGs that stay in the ball, both looked at by the model."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from attnlab.arrays import Images
from attnlab.attacks import CLEAN, Attack, Attacks
from attnlab.attacks.pgd import perturb
from attnlab.attacks.trajectory import AttackResult
from attnlab.errors import UserError
from attnlab.files import file_of, write_whole
from attnlab.pipelines.accuracy_records import AttackBatch, looked_at
from attnlab.runs import Run

#: what the outcome of the 8-bit images is called: the attack's name and this
EIGHT_BIT = " 8-bit"


def save_adversarial(target: AttackBatch, folder: Path, attacks: Attacks) -> dict[str, AttackResult]:
    """Make a batch's adversarial images by the one attack of `only_attack`, and keep them in a run's folder.

    They are in arrays/ID.npy and images/ID.png; the outcomes of both kinds are returned.
    """
    (name, attack), *_ = ((name, attack) for name, attack in attacks.items() if attack is not None)
    if isinstance(attack, Attack):
        steps = attack.steps
        adversarial = perturb(target.source, target.images, target.labels, attack, seeds=target.seeds)
    else:
        steps = 0
        adversarial = attack(target.source, target.images, target.labels, target.seeds)
    Run(folder).existing()
    pixels = eight_bit(adversarial, target.images, attack.eps)
    for image_id, values, levels in zip(target.image_ids, adversarial.cpu(), pixels.cpu(), strict=True):
        array, picture = BytesIO(), BytesIO()
        np.save(array, values.numpy())
        Image.fromarray(levels.permute(1, 2, 0).numpy().squeeze()).save(picture, "PNG")
        write_whole(file_of(folder / "arrays", image_id, ".npy"), array.getvalue(), sync=False)
        write_whole(file_of(folder / "images", image_id, ".png"), picture.getvalue(), sync=False)
    return {
        name: looked_at(target, adversarial, steps),
        name + EIGHT_BIT: looked_at(target, pixels.to(adversarial) / 255, steps),
    }


def eight_bit(adversarial: Images, images: Images, eps: float) -> Tensor:
    """Adversarial images in whole grey levels, 0 to 255, (N, C, H, W), uint8, still in the ball around `images`.

    Those are whole levels divided by 255; as much of eps is used as whole levels allow.
    """
    centre = (images * 255).round()
    levels = int(eps * 255 + 1e-6)
    lowest, highest = (centre - levels).clamp(min=0), (centre + levels).clamp(max=255)
    return torch.clamp((adversarial * 255).round(), lowest, highest).to(torch.uint8)


def only_attack(attacks: Attacks) -> Attacks:
    """The one attack that `save_adversarial` makes, with an entry for each of its outcomes."""
    if len(attacks) != 1 or CLEAN in attacks:
        raise UserError(f"expected one attack, got {', '.join(attacks)}")
    ((name, attack),) = attacks.items()
    return {CLEAN: None, name: attack, name + EIGHT_BIT: None}
