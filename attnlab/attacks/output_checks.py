"""Check a model's outputs for a few images: cheap enough for every command that runs one.

The passes that are compared are of the same images in the same batch, so that on a CPU they are equal to the bit.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnlab.arrays import Images, Labels, Logits
from attnlab.hooks import first_inputs, frozen_eval
from attnlab.models.classifier import Classifier

IMAGES = 4  # images that are looked at: 21 forward-equivalents with three passes, one alone and an input gradient
PASSES = 3  # passes that must agree
#: logits may differ by so many units of rounding of the largest one between two passes: on a GPU sums may be in another
#: order, which moves a few units; noise of .003 on pixels or logits moves hundreds
ROUNDINGS = 64
#: share of the largest logit by which another batch size may move one, for it may mean other kernels: sums of some
#: thousand terms in another order move 1e-5 of it in float32, 1e-3 in tf32 and some hundredths in bfloat16, while batch
#: statistics move it by tenths
COMPANY = {torch.float64: 1e-6, torch.float32: 1e-2, torch.float16: 0.05}
COMPANY_ELSE = 0.1
SURE = 0.4  # outputs in [0, 1] below this are those of a network that was not trained yet
WIDER = 1.5  # how much wider than its normalised images a network's first convolution may see them
NO_GRADIENT = "the outputs have no gradient: no attack that climbs one can be made"


def check_outputs(
    classifier: Classifier, images: Images, labels: Labels, *, count: int = IMAGES, gradients: bool = True
) -> list[str]:
    """Name what is suspicious about a model's outputs for the first `count` images; it is given back as it was.

    `gradients` looks at the gradients too; those of a network that was not trained yet may well be zero.
    """
    images, labels = images[:count], labels[:count]
    devices = [images.device] if images.device.type == "cuda" else []
    # a random model's later draws are as they would have been
    with torch.random.fork_rng(devices), frozen_eval(classifier), torch.no_grad():
        with first_inputs(classifier.network, nn.Conv2d) as seen:
            passes = [classifier(images) for _ in range(PASSES - 1)]
        watched = images.detach().requires_grad_(gradients)
        with torch.set_grad_enabled(gradients):
            logits = classifier(watched)
        signs = [*_probabilities(passes[0]), *_normalised_twice(classifier, images, seen)]
        random = _random(classifier, [*passes, logits.detach()])
        if random and gradients:  # a pass with a graph may use other kernels: compare it with another of its kind
            with torch.enable_grad():
                again = classifier(watched)
            random = _random(classifier, passes) or _random(classifier, [logits.detach(), again.detach()])
        signs += random or _company(classifier, images, passes[0])
        return signs + (_gradients(logits, watched, labels) if gradients else [])


def has_gradient(classifier: Classifier) -> bool:
    """Whether the outputs have a gradient by the images, so that attacks can climb one."""
    image = torch.full((1, classifier.channels, *classifier.input_size), 0.5, device=classifier.device)
    devices = [image.device] if image.device.type == "cuda" else []
    with torch.random.fork_rng(devices), frozen_eval(classifier), torch.enable_grad():
        logits = classifier(image.requires_grad_())
        if not logits.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(logits.sum(), image, allow_unused=True)
    return gradient is not None


def _probabilities(logits: Logits) -> list[str]:
    """A softmax or a sigmoid at the end."""
    sums, lowest, highest = logits.sum(1), logits.min(), logits.max()
    if not (lowest >= 0 and highest <= 1):
        return []
    if bool(((sums - 1).abs() < 1e-3).all()):
        last, sign = "softmax", f"are probabilities (all are at least 0 and sum to {sums.mean():.3f})"
    elif highest >= SURE:
        sign = f"look like probabilities (all are from {lowest:.3f} to {highest:.3f}, as a sigmoid gives)"
        last = "sigmoid"
    else:
        return []
    return [
        f"the outputs {sign}: losses and margins are made for logits, and a {last} before them flattens their "
        f"gradients; return what goes into the {last}"
    ]


def answers_at_random(classifier: Classifier, images: Images, *, count: int = IMAGES) -> bool:
    """Whether passes of the same images differ, of the first `count`."""
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices), frozen_eval(classifier), torch.no_grad():
        return bool(_random(classifier, [classifier(images[:count]) for _ in range(PASSES)]))


def _random(classifier: Classifier, passes: list[Tensor]) -> list[str]:
    """Logits that differ from pass to pass."""
    scale = passes[0].abs().max()
    differs = max(float((logits - passes[0]).abs().max()) for logits in passes[1:])
    if not differs > ROUNDINGS * torch.finfo(_arithmetic(classifier)).eps * scale:
        return []
    return [
        f"{PASSES} passes of the same images differ by up to {differs:.3g} (largest logit {scale:.3g}): a random model "
        "needs attacks that average over its randomness, such as autoattack-rand and not autoattack, and its figures "
        "change from run to run"
    ]


def _company(classifier: Classifier, images: Images, logits: Logits) -> list[str]:
    """Logits of an image that depend on the others in its batch."""
    if len(images) < 2:
        return []
    differs, scale = (logits[:1] - classifier(images[:1])).abs().max(), logits.abs().max()
    if not differs > COMPANY.get(_arithmetic(classifier), COMPANY_ELSE) * scale:
        return []
    return [
        f"the logits of an image differ by {differs:.3g} when it is alone in its batch (largest logit {scale:.3g}): a "
        "batch norm works in train mode or without running statistics, so that images see each other and every "
        "figure depends on the batch"
    ]


def _gradients(logits: Logits, images: Images, labels: Labels) -> list[str]:
    with torch.enable_grad():
        loss = F.cross_entropy(logits, labels, reduction="sum")
    if loss.grad_fn is None:
        return [NO_GRADIENT]
    (gradient,) = torch.autograd.grad(loss, images, allow_unused=True)
    zero = len(images) if gradient is None else int((gradient.flatten(1).abs().amax(1) == 0).sum())
    if not zero:
        return []
    return [
        f"the gradient of the cross-entropy is zero at {zero} of {len(images)} clean images: attacks that climb it "
        "stand still there (saturated outputs, or a step that has no gradient)"
    ]


def _normalised_twice(classifier: Classifier, images: Images, seen: list[Tensor]) -> list[str]:
    """A network that scales normalised images up once more before its first convolution."""
    given = classifier.normalise(images)
    if classifier.as_it_is or not seen or seen[0].shape != given.shape:
        return []
    wider = float(seen[0].double().std() / given.double().std().clamp(min=1e-12))
    if not wider > WIDER:
        return []
    return [
        f"the images are normalised with mean and std, and the network scales them by {wider:.2g} once more before its "
        "first convolution: if it normalises them itself, state --mean 0 --std 1"
    ]


def _arithmetic(classifier: Classifier) -> torch.dtype:
    """Number type that the network computes in."""
    floats = (parameter.dtype for parameter in classifier.network.parameters() if parameter.is_floating_point())
    return next(floats, torch.float32)
