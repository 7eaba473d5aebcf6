"""Adversarial images as files: float arrays, and 8-bit PNGs that stay in the ball, both looked at by the model."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from attnlab.attacks import CLEAN, Attack, Attacks
from attnlab.attacks.pgd import perturb
from attnlab.attacks.trajectory import AttackResult
from attnlab.errors import UserError
from attnlab.files import file_of, write_whole
from attnlab.pipelines.accuracy_records import AttackBatch, looked_at
from attnlab.runs import Run

#: what the outcome of the 8-bit images is called: the attack's name and this
EIGHT_BIT = " 8-bit"


class SaveAdversarial:
    """Makes the adversarial images of one attack and keeps them: arrays/ID.npy and images/ID.png."""

    def __init__(self, folder: Path, attacks: Attacks) -> None:
        """Remember what to make, and where.

        Args:
            folder: The run's.
            attacks: Of `only_attack`.
        """
        self.folder = folder
        self.attacks = attacks

    def __call__(self, target: AttackBatch) -> dict[str, AttackResult]:
        """Write a batch's images, and return the outcomes of both kinds."""
        (name, attack), *_ = ((name, attack) for name, attack in self.attacks.items() if attack is not None)
        if isinstance(attack, Attack):
            adversarial = perturb(target.source, target.images, target.labels, attack, seeds=target.seeds)
        else:
            adversarial = attack(target.source, target.images, target.labels, target.seeds)
        Run(self.folder).existing()
        pixels = eight_bit(adversarial, target.images, attack.eps)
        for image_id, values, levels in zip(target.image_ids, adversarial.cpu(), pixels.cpu(), strict=True):
            array, picture = BytesIO(), BytesIO()
            np.save(array, values.numpy())
            Image.fromarray(levels.permute(1, 2, 0).numpy().squeeze()).save(picture, "PNG")
            write_whole(file_of(self.folder / "arrays", image_id, ".npy"), array.getvalue(), sync=False)
            write_whole(file_of(self.folder / "images", image_id, ".png"), picture.getvalue(), sync=False)
        steps = attack.steps if isinstance(attack, Attack) else 0
        return {
            name: looked_at(target, adversarial, steps),
            name + EIGHT_BIT: looked_at(target, pixels.to(adversarial) / 255, steps),
        }


def eight_bit(adversarial: Tensor, images: Tensor, eps: float) -> Tensor:
    """Adversarial images in whole grey levels that are still in the ball, 0 to 255, (N, C, H, W), uint8.

    Args:
        adversarial: Pixels in [0, 1], (N, C, H, W).
        images: Centre of the ball, whole grey levels divided by 255.
        eps: L-infinity budget, pixels in [0, 1]; as much of it is used as whole levels allow.
    """
    centre = (images * 255).round()
    levels = int(eps * 255 + 1e-6)
    lowest, highest = (centre - levels).clamp(min=0), (centre + levels).clamp(max=255)
    return torch.clamp((adversarial * 255).round(), lowest, highest).to(torch.uint8)


def only_attack(attacks: Attacks) -> Attacks:
    """The attack that a `SaveAdversarial` makes, with an entry for each of its outcomes.

    Raises:
        UserError: If it is not one attack.
    """
    if len(attacks) != 1 or CLEAN in attacks:
        raise UserError(f"expected one attack, got {', '.join(attacks)}")
    ((name, attack),) = attacks.items()
    return {CLEAN: None, name: attack, name + EIGHT_BIT: None}
