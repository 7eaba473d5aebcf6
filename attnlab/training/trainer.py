"""The training loop: adversarial images of a batch, the defence's terms, one step; a validation each epoch."""

import json
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from attnlab.attacks.pgd import Attack, perturb
from attnlab.errors import UserError
from attnlab.hooks import borrowed
from attnlab.models.checkpoint import save_checkpoint
from attnlab.models.classifier import Classifier
from attnlab.seeds import seed_of
from attnlab.training.defense import Defense
from attnlab.training.distributed import World
from attnlab.training.images import Images, augmented, order_of
from attnlab.training.plan import Plan
from attnlab.training.sources import draw_source
from attnlab.training.state import Progress, load_state, save_state
from attnlab.training.step import Step, Terms

LOG = "log.jsonl"
#: seconds after which a long epoch is saved in between
SAVE_EVERY = 600.0

#: what a log line says
Line = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """A training that is ready to run.

    Attributes:
        classifier: On its device; trained in place.
        model: Name that `load_model` builds the network from.
        name: Of the defence, as the user wrote it.
        defense: What is descended.
        plan: How long, how fast, under which attack.
        images: To train on.
        held_out: To validate on.
        folder: The run's; the best checkpoint lies in it, the last in `last`.
        seed: Of order, augmentation, starts and dropout.
        sources: Static classifiers of ensemble adversarial training.
        bf16: Run forward passes in bfloat16 where torch's autocast does.
        compiled: Let torch.compile make the step.
        snapshots: Keep the checkpoint of every epoch in `epochs`.
        world: The processes that train together.
    """

    classifier: Classifier
    model: str
    name: str
    defense: Defense
    plan: Plan
    images: Images
    held_out: Images
    folder: Path
    seed: int = 0
    sources: tuple[Classifier, ...] = ()
    bf16: bool = False
    compiled: bool = False
    snapshots: bool = False
    world: World = field(default_factory=World)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self.images) // self.plan.batch_size

    def run(self, tell: Callable[[Line], None] = lambda line: None) -> None:
        """Train, or go on where an earlier session stopped.

        Args:
            tell: Called with each line of the log.

        Raises:
            UserError: If a term of the loss is not finite, or there are fewer images than a batch.
        """
        if not self.steps:
            raise UserError(
                f"expected at least a batch of {self.plan.batch_size} training images, got {len(self.images)}; "
                "a smaller --batch-size may do"
            )
        optimizer = optimizer_of(self.classifier, self.plan)
        progress = load_state(self.folder, self.classifier.network, optimizer)
        log = Log(self.folder / LOG, progress, tell) if self.world.first else None
        step: nn.Module = Step(self.classifier, self.defense)
        if self.world.size > 1:
            device = self.classifier.device
            step = DistributedDataParallel(step, device_ids=[device] if device.type == "cuda" else None)
        if self.compiled:
            step = torch.compile(step)  # type: ignore[assignment]
        for epoch in range(progress.epoch, self.plan.epochs):
            self._epoch(step, optimizer, replace(progress, epoch=epoch), log)
            figures = self.validate()
            chosen = figures["robust" if self.defense.reads != ("clean",) else "clean"]
            if self.world.first and log is not None:
                log.write({"epoch": epoch + 1, **figures})
                self._keep(epoch, better=chosen > progress.best)
            progress = Progress(epoch + 1, 0, max(chosen, progress.best))
            if self.world.first:
                save_state(self.folder, self.classifier.network, optimizer, progress)

    def _epoch(self, step: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, log: "Log | None") -> None:
        """One pass over the images, from the step on that the progress names."""
        batch_size = self.plan.batch_size
        order = order_of(len(self.images), self.seed, progress.epoch)[: self.steps * batch_size]
        mine = self.world.share(order[progress.step * batch_size :], batch_size)
        saved = monotonic()
        sums: dict[str, float] = {}
        number = progress.step
        try:
            for batch in self.images.batches(mine, batch_size // self.world.size):
                terms = self._step(step, optimizer, batch.pixels, batch.labels, progress.epoch, number)
                number += 1
                sums = {name: sums.get(name, 0.0) + value for name, value in terms.items()}
                if log is not None and (number % log.every == 0 or number == self.steps):
                    count = (number - progress.step) % log.every or log.every
                    means = {name: value / count for name, value in sums.items()}
                    log.write({"epoch": progress.epoch + 1, "step": number, "of": self.steps, **means})
                    sums = {}
                if self.world.first and monotonic() - saved > SAVE_EVERY:
                    save_state(self.folder, self.classifier.network, optimizer, replace(progress, step=number))
                    saved = monotonic()
        except KeyboardInterrupt:
            if self.world.first:
                save_state(self.folder, self.classifier.network, optimizer, replace(progress, step=number))
            raise

    def _step(
        self, step: nn.Module, optimizer: torch.optim.Optimizer, pixels: Tensor, labels: Tensor, epoch: int, number: int
    ) -> Mapping[str, float]:
        """One step of the optimizer; every random draw of it depends on the seed and its place alone."""
        seed = seed_of(self.seed, f"epoch {epoch} step {number} process {self.world.rank}") % 2**63
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        images = augmented(pixels, self.plan.augment, generator).float() / 255
        rate = learning_rate(self.plan, epoch * self.steps + number, self.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        terms = self._terms(step, images, labels, epoch, number, generator)
        figures = {name: float(value.detach()) for name, value in (terms.weighted | terms.diagnostics).items()}
        for name, figure in figures.items():
            if not math.isfinite(figure):
                raise UserError(
                    f"the term {name} became {figure} in epoch {epoch + 1}, step {number + 1}; the last good "
                    f"checkpoint is {self.folder / 'last'}; a smaller --learning-rate or a longer --ramp may help"
                )
        optimizer.zero_grad()
        terms.loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return figures

    def _terms(
        self, step: nn.Module, images: Tensor, labels: Tensor, epoch: int, number: int, generator: torch.Generator
    ) -> Terms:
        """What the defence makes of a batch."""
        adversarial = None
        with self._precision():
            if "adversarial" in self.defense.reads:
                attack = self.attack(epoch + number / self.steps)
                source = self.classifier
                if self.defense.ensemble:
                    source = draw_source(source, self.sources, self.seed, epoch * self.steps + number)
                if attack.random_start:
                    for _ in range(self.world.rank):  # the other processes' share of the batch's noise
                        torch.empty(images.shape).uniform_(generator=generator)
                adversarial = perturb(source, images, labels, attack, seeds=generator)
            self.classifier.train()
            terms: Terms = step(images, adversarial, labels)
        return terms

    def attack(self, epochs: float) -> Attack:
        """The training attack after that many epochs."""
        ramp = min(1.0, epochs / self.plan.ramp) if self.plan.ramp else 1.0
        return self.defense.attack(self.plan.eps * ramp, self.plan.steps, self.plan.step_size * ramp)

    def validate(self) -> dict[str, float]:
        """Accuracy on the held-out images in percent, clean and under PGD with the plan's full budget."""
        plan = self.plan
        attack = Attack(eps=plan.eps, steps=plan.steps, step_size=plan.step_size, random_start=True)
        counts = torch.zeros(3, dtype=torch.float64)
        size = min(self.plan.batch_size, len(self.held_out))
        generator = torch.Generator().manual_seed(self.seed)
        with borrowed(self.classifier), self._precision():
            for pixels, labels in self.held_out.batches(range(len(self.held_out)), size):
                images = pixels.float() / 255
                attacked = perturb(self.classifier, images, labels, attack, seeds=generator)
                with torch.no_grad():
                    right = [(self.classifier(seen).argmax(1) == labels).sum().item() for seen in (images, attacked)]
                counts += torch.tensor([*right, len(labels)], dtype=torch.float64)
        clean, robust, total = counts.tolist()
        return {"clean": 100 * clean / total, "robust": 100 * robust / total}

    def _precision(self) -> Any:
        return torch.autocast(self.classifier.device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def _keep(self, epoch: int, *, better: bool) -> None:
        """Write the checkpoints that an epoch leaves."""
        folders = [self.folder / "last"]
        if better:
            folders.append(self.folder)
        if self.snapshots:
            folders.append(self.folder / "epochs" / f"{epoch + 1:03d}")
        for folder in folders:
            save_checkpoint(self.classifier, folder, self.model, self.name)


def optimizer_of(classifier: Classifier, plan: Plan) -> torch.optim.Optimizer:
    """The plan's optimizer."""
    parameters = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    if plan.optimizer == "adam":
        return torch.optim.AdamW(parameters, plan.learning_rate, weight_decay=plan.weight_decay)
    return torch.optim.SGD(parameters, plan.learning_rate, momentum=0.9, nesterov=True, weight_decay=plan.weight_decay)


def learning_rate(plan: Plan, step: int, steps: int) -> float:
    """The learning rate of a step.

    Args:
        plan: Names the schedule.
        step: Steps made before, over all epochs.
        steps: Of an epoch.
    """
    if plan.schedule == "decay":
        return float(plan.learning_rate * 0.94 ** (step // steps // 2))
    if plan.schedule == "one-cycle":
        place, top = step / (plan.epochs * steps), 0.3
        part = place / top if place < top else (1 - place) / (1 - top)
        return plan.learning_rate * (0.5 - 0.5 * math.cos(math.pi * max(part, 1e-3)))
    return plan.learning_rate


class Log:
    """JSON lines, one per event; lines beyond the point a session goes on from are dropped first."""

    every = 50

    def __init__(self, path: Path, progress: Progress, tell: Callable[[Line], None]) -> None:
        """Open the log.

        Args:
            path: Of the file.
            progress: Where the session goes on.
            tell: Called with each new line.
        """
        self.path = path
        self.tell = tell
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        at = (progress.epoch, progress.step)
        kept = [line for line in lines if (line["epoch"] - ("step" in line), line.get("step", 0)) <= at]
        path.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def write(self, line: Line) -> None:
        """Add a line."""
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.tell(line)
