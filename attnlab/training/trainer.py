"""The training loop: adversarial images of a batch, the defence's terms, one step; a validation each epoch."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.arrays import Images, Labels
from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.errors import UserError
from attnlab.failures import keeping, naming
from attnlab.hooks import train_mode
from attnlab.models.checkpoint import save_checkpoint
from attnlab.models.classifier import Classifier
from attnlab.seeding import SEEDS, seed_of
from attnlab.training import PERTURBATIONS, Defense
from attnlab.training.adversary import Adversary, draw_source
from attnlab.training.checkpointing import load_state, save_state
from attnlab.training.distributed import ProcessGroup
from attnlab.training.folder import LAST, SNAPSHOTS, check_checkpoints, check_not_replaced, check_state
from attnlab.training.images import DRAWS, Batch, TrainingImages, augmented, check_batch, order_of
from attnlab.training.log import LOG, Board, Log, OnLog, OnStep, read_log
from attnlab.training.optim import average_of, exchange, exchanged, learning_rate, optimizer_of, update
from attnlab.training.recipes import Plan
from attnlab.training.signals import interruptions
from attnlab.training.step import Step, Terms
from attnlab.training.validate import diverged, is_finite, validate

LOG_EVERY = 50  # steps between two lines of the log
SAVE_EVERY = 600.0  # seconds after which a long epoch is saved in between
CONTINUE, SAVE, STOP = range(3)  # a process's wish after a step; the maximum over processes wins


@dataclass(frozen=True)
class Training:
    """A training that is ready to run."""

    classifier: Classifier  # on its device; trained in place
    model: str  # name that `load_model` builds the network from
    name: str  # of the defence, spelled out: madry+aad where the user wrote aad, madry where both its weights are 0
    defense: Defense
    plan: Plan
    images: TrainingImages
    held_out: TrainingImages
    folder: Path  # the best checkpoint lies in it, the last in `last`
    summary: str = ""  # what the training images are, in a line; empty where all epochs are done
    seed: int = 0  # of order, augmentation, starts and dropout
    sources: tuple[Classifier, ...] = ()  # static classifiers of ensemble adversarial training
    bf16: bool = False
    compiled: bool = False  # torch.compile makes the step and the attack's passes
    cuda_graph: bool = True  # record the attack where a GPU can, see `Adversary`
    snapshots: bool = False  # keep the checkpoint of every epoch in `epochs`
    tensorboard: bool = False
    world: ProcessGroup = field(default_factory=ProcessGroup)

    @property
    def steps(self) -> int:
        """Steps of an epoch; images that would fill no batch sit it out, others each time."""
        return len(self.images) // self.plan.batch_size

    def attack(self, epochs: float) -> Attack:
        """The training attack after that many epochs."""
        ramp = min(1.0, epochs / self.plan.ramp) if self.plan.ramp else 1.0
        return self.defense.attack(self.plan.eps * ramp, self.plan.steps, self.plan.step_size * ramp)

    def precision(self) -> Any:
        """The context that forward passes run in."""
        return torch.autocast(self.classifier.device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def run(self, on_log: OnLog = lambda line: None, on_step: OnStep = lambda done: None) -> None:
        """Train, or resume where an earlier session stopped; the classifier ends with the last checkpoint's weights.

        `on_log` is called in the first process alone. Raises KeyboardInterrupt, with all saved, if it was interrupted.
        """
        check_batch(len(self.images), self.plan.batch_size)
        device = self.classifier.device
        kept = keeping(self.folder, "what was saved of it")
        with kept, torch.random.fork_rng([device] if device.type == "cuda" else []), interruptions() as interrupted:
            try:
                Session(self, on_log, interrupted).run(on_step)
            finally:
                self.classifier.eval()


class Session:
    """One process's work on a training, from where it stands to its end or an interruption."""

    def __init__(self, training: Training, on_log: OnLog, interrupted: Callable[[], bool]) -> None:
        self.training = training
        self.world = training.world
        self.interrupted = interrupted
        self.network = training.classifier.network
        self.adversary: Adversary | None = None
        if "adversarial" in training.defense.reads:
            self.adversary = Adversary(training.classifier, compiled=training.compiled, cuda_graph=training.cuda_graph)
        self.optimizer = optimizer_of(training.classifier, training.plan)
        self.average = average_of(self.network, training.plan.ema) if training.plan.ema else None
        #: what is saved beside the optimizer
        self.modules = {"network": self.network, **({"average": self.average} if self.average else {})}
        check_state(training.folder)
        self.progress = load_state(training.folder, self.modules, self.optimizer)
        if not self.world.agree(self.done):
            raise UserError(
                f"expected all processes to find the same training in {training.folder}, got some that stand at "
                "another step; choose an --out that all machines share"
            )
        self.saved = monotonic()
        #: figures of the last steps, still on the device, so that it need not be waited for at each step
        self.pending: list[Tensor] = []
        self.names: tuple[str, ...] = ()
        step: nn.Module = Step(training.classifier, training.defense)
        if self.world.size > 1:
            # preservation differentiates a map that has no closed form again, and torch cannot do so with shared norms
            if training.classifier.head or not training.defense.beta:
                self.world.share_norms(self.network)
            step = self.world.wrap(step)
        self.step: nn.Module = torch.compile(step) if training.compiled else step  # type: ignore[assignment]
        self.log = Log(training.folder / LOG, self.progress, on_log) if self.world.first else None
        self.inode = training.folder.stat().st_ino if self.log else 0
        self.board: Board | None = None
        if self.log is not None and training.tensorboard:
            self.board = Board(training.folder / "tensorboard", read_log(self.log.path), training.steps)
            self.log.listeners.append(self.board)

    @property
    def done(self) -> int:
        """Steps that were made so far."""
        return self.progress.epoch * self.training.steps + self.progress.step

    def run(self, on_step: OnStep) -> None:
        """Train what is left of the epochs."""
        training = self.training
        train_mode(training.classifier)
        try:
            while self.progress.epoch < training.plan.epochs:
                self._epoch(on_step)
                self._validate()
            if self.average is not None:
                exchange(self.network, self.average)  # for good
            if self.world.first:
                check_checkpoints(training.folder, training.classifier, training.model, training.name)
        finally:
            del self.step  # what `ProcessGroup.wrap` gave must not outlive the processes' group
            if self.board is not None:
                self.board.close()

    def _epoch(self, on_step: OnStep) -> None:
        """Make what is left of a pass over the images."""
        training, size = self.training, self.training.plan.batch_size
        order = order_of(len(training.images), training.seed, self.progress.epoch)
        left = self.world.share(order[self.progress.step * size : training.steps * size], size)
        for batch in training.images.batches(left, size // self.world.size):
            with naming(f"training images of epoch {self.progress.epoch + 1}, step {self.progress.step + 1}"):
                self.step_on(batch)
            self.progress = replace(self.progress, step=self.progress.step + 1)
            on_step(self.done)
            if self.progress.step % LOG_EVERY == 0 or self.progress.step == training.steps:
                self._write_log()
            self._poll_signals()

    def step_on(self, batch: Batch) -> None:
        """Make one step of the optimizer; every random draw depends on the seed and the step's number alone."""
        training, plan, defense = self.training, self.training.plan, self.training.defense
        torch.manual_seed(self._seed(f"dropout in process {self.world.rank}"))
        draws = torch.rand(plan.batch_size, DRAWS, generator=torch.Generator().manual_seed(self._seed("augmentation")))
        images = augmented(batch.pixels, plan.augment, draws[self.world.part(plan.batch_size)]).float() / 255
        self.world.share_buffers(self.network)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(plan, self.done, training.steps)
        with training.precision():
            adversarial = self._adversarial(images, batch.labels)

        def descend() -> Terms:
            with training.precision():  # entered anew, since it keeps what it made of the weights
                terms: Terms = self.step(images, adversarial, batch.labels)
            self.optimizer.zero_grad()
            terms.loss.backward()  # type: ignore[no-untyped-call]
            return terms

        perturbed = PERTURBATIONS[defense.perturbation if self.done >= defense.warmup * training.steps else "none"]
        with perturbed(self.network, descend, defense.gamma):
            terms = descend()
        self.optimizer.step()
        if self.average is not None:
            update(self.average, self.network)
        figures = terms.weighted | terms.diagnostics
        self.names = tuple(figures)
        self.pending.append(torch.stack([value.detach().double() for value in figures.values()]))

    def _seed(self, what: str) -> int:
        """Seed of what is random in the step at hand."""
        return seed_of(self.training.seed, f"{what} of epoch {self.progress.epoch} step {self.progress.step}") % SEEDS

    def _adversarial(self, images: Images, labels: Labels) -> Images | None:
        """The batch's adversarial images, where the defence reads any."""
        if self.adversary is None:
            return None
        training = self.training
        attack = training.attack(self.progress.epoch + self.progress.step / training.steps)
        source = draw_source(training.classifier, training.sources, training.seed, self.done)  # or itself
        draws = self.world.draws_like(images, self._seed("start")) if attack.random_start else None
        if source is not training.classifier:
            return perturb(source, images, labels, attack, seeds=draws)
        return self.adversary(images, labels, attack, draws)

    def _write_log(self) -> None:
        """Add a line on the steps since the line before to the log."""
        self._settle()
        window, self.progress = self.progress.window, replace(self.progress, window=())
        if self.log is not None and window:
            means = {name: sum(row[name] for row in window) / len(window) for name in window[0]}
            check_not_replaced(self.training.folder, self.inode)
            at = {"epoch": self.progress.epoch + 1, "step": self.progress.step, "of": self.training.steps}
            self.log.write(at | means)

    def _settle(self) -> None:
        """Fetch the last steps' figures, means over the processes, and refuse those that are not finite."""
        if not self.pending:
            return
        rows = (self.world.total(torch.stack(self.pending)) / self.world.size).tolist()
        self.pending = []
        window = [dict(zip(self.names, row, strict=True)) for row in rows]
        for number, figures in enumerate(window, self.progress.step - len(window) + 1):
            for name, figure in figures.items():
                if not math.isfinite(figure):
                    raise self._diverged(f"the term {name} became {figure}", number)
        self.progress = replace(self.progress, window=(*self.progress.window, *window))

    def _diverged(self, what: str, step: int | None = None) -> UserError:
        return diverged(what, self.training.folder, self.progress.epoch, step)

    def _poll_signals(self) -> None:
        """Save if it is time to, or if a process was interrupted, and then stop."""
        wish = STOP if self.interrupted() else SAVE if monotonic() - self.saved > SAVE_EVERY else CONTINUE
        wish = self.world.largest(wish)
        if wish != CONTINUE:
            self._save()
        if wish == STOP:
            raise KeyboardInterrupt

    def _save(self) -> None:
        self._settle()
        self.world.share_buffers(self.network)  # what is saved, all judge
        if not is_finite(self.network):
            raise self._diverged("weights became infinite or NaN", self.progress.step)
        if self.world.first:
            check_not_replaced(self.training.folder, self.inode)
            save_state(self.training.folder, self.modules, self.optimizer, self.progress)
        self.world.wait()  # who ended earlier might read the state before, or make torchrun stop the one that writes
        self.saved = monotonic()

    def _validate(self) -> None:
        """End an epoch: judge the weights, or their average where there is one, and keep the checkpoints it leaves."""
        with exchanged(self.network, self.average):
            accuracy = self._judge()
        best = max(accuracy, self.progress.best)
        self.progress = replace(self.progress, epoch=self.progress.epoch + 1, step=0, best=best)
        self._save()

    def _judge(self) -> float:
        """The accuracy that decides between epochs: of held-out images under PGD with the plan's full budget."""
        training, plan, epoch = self.training, self.training.plan, self.progress.epoch + 1
        self.world.share_buffers(self.network)
        attack = Attack(eps=plan.eps, steps=plan.steps, step_size=plan.step_size, random_start=True)
        size = plan.batch_size // self.world.size
        with naming(f"held-out images after epoch {epoch}"), training.precision():
            figures = validate(
                training.classifier, training.held_out, attack, size, self.world, training.seed, self._pause
            )
        if not (is_finite(self.network) and all(map(math.isfinite, figures.values()))):
            raise self._diverged("weights or logits of held-out images became infinite or NaN")
        accuracy = figures["clean" if training.defense.reads == ("clean",) else "robust"]
        better = accuracy > self.progress.best
        if self.log is not None:
            check_not_replaced(training.folder, self.inode)
            folders = [training.folder / LAST, *([training.folder] if better else [])]
            if training.snapshots:
                folders.append(training.folder / SNAPSHOTS / f"{epoch:03d}")
            for folder in folders:
                save_checkpoint(training.classifier, folder, training.model, training.name)
            self.log.write({"epoch": epoch, **figures, "best": better})
        return accuracy

    def _pause(self) -> None:
        if self.world.size == 1:  # elsewhere processes may have different numbers of batches
            with exchanged(self.network, self.average):  # back, for what is saved
                self._poll_signals()
