"""How good a model is on images held out of its training, and whether its numbers are still finite."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from attnlab.arrays import Labels, Logits, PerImage
from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.errors import UserError
from attnlab.hooks import frozen_eval
from attnlab.models.checkpoint import DESCRIPTION
from attnlab.models.classifier import Classifier
from attnlab.seeding import SEEDS, seed_of
from attnlab.training.distributed import ProcessGroup
from attnlab.training.folder import LAST
from attnlab.training.images import TrainingImages


def validate(
    classifier: Classifier,
    images: TrainingImages,
    attack: Attack,
    size: int,
    world: ProcessGroup,
    seed: int = 0,
    pause: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Accuracy in percent, `clean` and `robust` (under the attack), and `n`, of how many images, over all processes.

    An accuracy is NaN where some image's logits have no softmax. The random start of an image depends on the seed and
    its place in the set alone. `pause` is called before each batch of `size` images.
    """
    indices = range(len(images))[world.rank :: world.size]
    right = torch.zeros(3, dtype=torch.float64, device=classifier.device)
    for at, batch in zip(range(0, len(indices), size), images.batches(indices, size), strict=True):
        pause()
        seeds = [seed_of(seed, f"held out {index}") % SEEDS for index in indices[at : at + size]]
        pixels = batch.pixels.float() / 255
        attacked = perturb(classifier, pixels, batch.labels, attack, seeds=seeds)
        with torch.no_grad(), frozen_eval(classifier):
            counts = [hits(classifier(seen), batch.labels).sum() for seen in (pixels, attacked)]
        right += torch.stack([*counts, torch.tensor(len(pixels), device=right.device)])
    clean, robust, total = world.total(right).tolist()
    return {"clean": 100 * clean / total, "robust": 100 * robust / total, "n": int(total)}


def hits(logits: Logits, labels: Labels) -> PerImage:
    """1 for each image classified correctly and 0 for another, float64; NaN where logits have no softmax."""
    right = (logits.argmax(1) == labels).double()
    return right.where(logits.log_softmax(1).isnan().logical_not().all(1), torch.nan)


def is_finite(network: nn.Module) -> bool:
    """Whether all parameters and running statistics are finite."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
    values = [*network.parameters(), *(buffer for norm in norms for buffer in norm.buffers())]
    return bool(torch.stack([value.isfinite().all() for value in values]).all())


def diverged(what: str, folder: Path, epoch: int, step: int | None) -> UserError:
    """The error of a training with NaN or infinity after `epoch` epochs, which names the last good checkpoint."""
    last = folder / LAST
    kept = f"the last good checkpoint is {last}, after epoch {epoch}"
    if not (last / DESCRIPTION).exists():
        kept = "there is no checkpoint yet"
    when = f"epoch {epoch + 1}" if step is None else f"epoch {epoch + 1}, step {step}"
    hint = "a smaller --learning-rate or a longer --ramp may help, in another --out"
    return UserError(f"{what} in {when}; {kept}; {hint}")
