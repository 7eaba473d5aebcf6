"""A small network that attacks win and lose images of again, and what attacks on it come to in plain loops."""

import torch
from torch import Tensor, nn

from attnlab.attacks import OBJECTIVES, Attack
from attnlab.attacks.context import start_of
from attnlab.attacks.trajectory import AttackResult
from attnlab.models import Classifier

READINGS = (3, 5, 12)
COUNT = 24
CW = Attack("margin", eps=0.008, step_size=0.0024)
PGD = Attack(eps=0.008, step_size=0.0024, random_start=True)
A3 = Attack(eps=0.008, step_size=0.0024, random_start=True, sigma=10.0)
LEAST = Attack("least-likely", eps=0.008, step_size=0.0024)
MI = Attack(eps=0.008, step_size=0.0024, random_start=True, rule="momentum")
NI = Attack(eps=0.008, step_size=0.0024, random_start=True, rule="nesterov")
WILD = Attack(eps=0.3, step_size=0.2, random_start=True)  # it overshoots: what is lost is won again


class Wavy(nn.Module):
    """Logits that go up and down on the way: an attack overshoots, and an image that is lost may be won again."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.input_size = (9, 9)
        self.conv = nn.Conv2d(1, 16, 3)
        self.last = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.sin(60 * self.conv(x)).mean((2, 3)))


IMAGES = torch.rand(COUNT, 1, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SEEDS = [101 * number for number in range(COUNT)]


def wavy(seed: int = 0) -> Classifier:
    """Of three classes, in float64."""
    classifier = Classifier(Wavy(seed)).double().eval()
    with torch.no_grad():  # so that no class is the prediction everywhere
        classifier.network.last.bias -= classifier(IMAGES).mean(0)
    return classifier


def looked_at() -> tuple[Tensor, Tensor]:
    """Logits of the images; their labels, which are the predictions but for every sixth image."""
    with torch.no_grad():
        clean = wavy()(IMAGES)
    labels = clean.argmax(1)
    labels[::6] = (labels[::6] + 1) % 3
    return clean, labels


CLEAN, LABELS = looked_at()


def assert_same(first: AttackResult, second: AttackResult) -> None:
    for name, ours, theirs in zip(AttackResult._fields, first, second, strict=True):
        assert (ours is theirs is None) or torch.equal(ours, theirs), name


def assert_close(first: AttackResult, second: AttackResult) -> None:
    for name, ours, theirs in zip(AttackResult._fields, first, second, strict=True):
        assert (ours is theirs is None) or torch.allclose(ours, theirs, rtol=0, atol=1e-9), name


def taken(result: AttackResult, rows: Tensor | slice) -> AttackResult:
    return AttackResult(*(values if values is None else values[rows] for values in result))


def plain(
    victim: Classifier,
    source: Classifier,
    image: Tensor,
    label: int,
    attack: Attack,
    steps: int,
    seed: int,
    restart: int = 0,
) -> tuple[list[Tensor], Tensor]:
    """One start of one image: logits of the victim at every point from the clean image on, and the last point."""
    objective = OBJECTIVES[attack.objective]
    labels = torch.tensor([label])
    point = start_of(image[None], attack, [seed], restart)
    aim = objective.aim(lambda: source(image[None]).detach(), labels)
    total = torch.zeros_like(point)
    seen = [victim(image[None]).detach()[0], victim(point).detach()[0]]
    for _ in range(steps):
        looked = (point + attack.step_length * total if attack.rule == "nesterov" else point).requires_grad_()
        (gradient,) = torch.autograd.grad(objective.value(source(looked), aim, 0.0).sum(), looked)
        if attack.rule != "sign":  # mu is 1
            total = gradient = total + gradient * gradient.numel() / gradient.abs().sum()
        point = point.detach() + attack.step_length * gradient.sign()
        point = torch.minimum(torch.maximum(point, image - attack.eps), image + attack.eps).clamp(0, 1).detach()
        seen.append(victim(point).detach()[0])
    return seen, point


def by_hand(seen: list[Tensor], label: int) -> tuple[int, float, float, int]:
    """Prediction, margin and loss at the last point, and the step of the first point that is misclassified."""
    last = seen[-1]
    others = [float(last[other]) for other in range(len(last)) if other != label]
    wrong = [int(logits.argmax()) != label for logits in seen]
    # the clean image and the start are both step 0
    steps = max(0, wrong.index(True) - 1) if any(wrong) else -1
    return int(last.argmax()), float(last[label]) - max(others), float(last.logsumexp(0) - last[label]), steps
