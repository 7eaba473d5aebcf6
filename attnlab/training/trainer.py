"""The training loop: adversarial images of a batch, the defence's terms, one step; a validation each epoch."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from time import monotonic

import torch
from torch import Tensor, nn

from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.errors import UserError
from attnlab.failures import keeping, kept_in, naming
from attnlab.hooks import train_mode
from attnlab.models.checkpoint import save_checkpoint
from attnlab.seeding import seed_of
from attnlab.training import PERTURBATIONS
from attnlab.training.adversary import Adversary
from attnlab.training.average import average_of, exchange, exchanged, update
from attnlab.training.checkpointing import load_state, save_state
from attnlab.training.divergence import diverged, is_finite
from attnlab.training.folder import LAST, SNAPSHOTS, check_checkpoints, check_state
from attnlab.training.images import DRAWS, Batch, augmented, check_batch, order_of
from attnlab.training.log import LOG, Log, OnLog, OnStep, read_log
from attnlab.training.schedule import learning_rate, optimizer_of
from attnlab.training.setup import TrainingSetup
from attnlab.training.signals import interruptions
from attnlab.training.sources import draw_source
from attnlab.training.step import Step, Terms
from attnlab.training.tensorboard_log import Board
from attnlab.training.validate import validate

#: steps between two lines of the log
LOG_EVERY = 50
#: seconds after which a long epoch is saved in between
SAVE_EVERY = 600.0
#: what a process wishes after a step; the most urgent wish of all processes is heeded
CONTINUE, SAVE, STOP = range(3)


@dataclass(frozen=True)
class Training(TrainingSetup):
    """A training that is ready to run."""

    def run(self, tell: OnLog = lambda line: None, tick: OnStep = lambda done: None) -> None:
        """Train, or go on where an earlier session stopped; the classifier ends with the last checkpoint's weights.

        `tell` is called with each line of the log in the first process, `tick` after each step with the number made.

        Raises:
            UserError: If a figure is not finite, images are fewer than a batch, or processes do not share the folder.
            KeyboardInterrupt: If it was interrupted; where it stands is saved.
        """
        check_batch(len(self.images), self.plan.batch_size)
        device = self.classifier.device
        kept = keeping(kept_in(self.folder, "what was saved of it"))
        with kept, torch.random.fork_rng([device] if device.type == "cuda" else []), interruptions() as interrupted:
            try:
                Session(self, tell, interrupted).run(tick)
            finally:
                self.classifier.eval()


class Session:
    """One process's work on a training, from where it stands to its end or an interruption."""

    def __init__(self, training: Training, tell: OnLog, interrupted: Callable[[], bool]) -> None:
        """Read where the training stands."""
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
        self.log = Log(training.folder / LOG, self.progress, tell) if self.world.first else None
        self.folder = training.folder.stat().st_ino if self.log else 0
        self.board: Board | None = None
        if self.log is not None and training.tensorboard:
            self.board = Board(training.folder / "tensorboard", read_log(self.log.path), training.steps)
            self.log.tells.append(self.board)

    @property
    def done(self) -> int:
        """Steps that were made so far."""
        return self.progress.epoch * self.training.steps + self.progress.step

    def run(self, tick: OnStep) -> None:
        """Train what is left of the epochs."""
        train_mode(self.training.classifier)
        try:
            while self.progress.epoch < self.training.plan.epochs:
                self._epoch(tick)
                self._validate()
            if self.average is not None:
                exchange(self.network, self.average)  # for good
            if self.world.first:
                training = self.training
                check_checkpoints(training.folder, training.classifier, training.model, training.name)
        finally:
            del self.step  # what `ProcessGroup.wrap` gave must not outlive the processes' group
            if self.board is not None:
                self.board.close()

    def _epoch(self, tick: OnStep) -> None:
        """What is left of a pass over the images."""
        training, plan = self.training, self.training.plan
        order = order_of(len(training.images), training.seed, self.progress.epoch)
        left = order[self.progress.step * plan.batch_size : training.steps * plan.batch_size]
        for batch in training.images.batches(
            self.world.share(left, plan.batch_size), plan.batch_size // self.world.size
        ):
            with naming(f"training images of epoch {self.progress.epoch + 1}, step {self.progress.step + 1}"):
                self.step_on(batch)
            self.progress = replace(self.progress, step=self.progress.step + 1)
            tick(self.done)
            if self.progress.step % LOG_EVERY == 0 or self.progress.step == training.steps:
                self._tell()
            self._poll_signals()

    def step_on(self, batch: Batch) -> None:
        """One step of the optimizer; every random draw of it depends on the seed and its place alone."""
        training, plan = self.training, self.training.plan
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

        with self._perturbed(descend):
            terms = descend()
        self.optimizer.step()
        if self.average is not None:
            update(self.average, self.network)
        figures = terms.weighted | terms.diagnostics
        self.names = tuple(figures)
        self.pending.append(torch.stack([value.detach().double() for value in figures.values()]))

    def _perturbed(self, descend: Callable[[], object]) -> AbstractContextManager[None]:
        """The context in which the step's gradient is taken."""
        defense = self.training.defense
        begun = self.done >= defense.warmup * self.training.steps
        return PERTURBATIONS[defense.perturbation if begun else "none"](self.network, descend, defense.gamma)

    def _seed(self, what: str) -> int:
        """Seed of what is random in the step at hand."""
        return seed_of(self.training.seed, f"{what} of epoch {self.progress.epoch} step {self.progress.step}") % 2**63

    def _adversarial(self, images: Tensor, labels: Tensor) -> Tensor | None:
        """The batch's adversarial images, where the defence reads any."""
        training = self.training
        if self.adversary is None:
            return None
        source = draw_source(training.classifier, training.sources, training.seed, self.done)  # or itself
        attack = training.attack(self.progress.epoch + self.progress.step / training.steps)
        draws = self.world.draws_like(images, self._seed("start")) if attack.random_start else None
        if source is not training.classifier:
            return perturb(source, images, labels, attack, seeds=draws)
        return self.adversary(images, labels, attack, draws)

    def _tell(self) -> None:
        """Add a line on the steps since the line before to the log."""
        self._settle()
        window, self.progress = self.progress.window, replace(self.progress, window=())
        if self.log is not None and window:
            means = {name: sum(row[name] for row in window) / len(window) for name in window[0]}
            self._check_folder()
            at = {"epoch": self.progress.epoch + 1, "step": self.progress.step, "of": self.training.steps}
            self.log.write(at | means)

    def _settle(self) -> None:
        """Fetch the last steps' figures, means over the processes, and see that they are finite.

        Raises:
            UserError: If one is not.
        """
        if not self.pending:
            return
        rows = (self.world.total(torch.stack(self.pending)) / self.world.size).tolist()
        first = self.progress.step - len(rows) + 1
        self.pending = []
        for number, row in enumerate(rows, first):
            for name, figure in zip(self.names, row, strict=True):
                if not math.isfinite(figure):
                    raise self._diverged(f"the term {name} became {figure}", f", step {number}")
        window = [*self.progress.window, *(dict(zip(self.names, row, strict=True)) for row in rows)]
        self.progress = replace(self.progress, window=tuple(window))

    def _diverged(self, what: str, where: str) -> UserError:
        return diverged(f"{what} in epoch {self.progress.epoch + 1}{where}", self.training.folder, self.progress.epoch)

    def _poll_signals(self) -> None:
        """Save if it is time to, or if a process was interrupted, and then stop.

        Raises:
            KeyboardInterrupt: If a process was interrupted.
        """
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
            raise self._diverged("weights became infinite or NaN", f", step {self.progress.step}")
        if self.world.first:
            self._check_folder()
            save_state(self.training.folder, self.modules, self.optimizer, self.progress)
        self.world.wait()  # who ended earlier might read the state before, or make torchrun stop the one that writes
        self.saved = monotonic()

    def _validate(self) -> None:
        """End an epoch: judge the weights, or their average where there is one, and keep the checkpoints it leaves."""
        self.world.share_buffers(self.network)
        with exchanged(self.network, self.average):
            chosen = self._judge()
        self.progress = replace(
            self.progress, epoch=self.progress.epoch + 1, step=0, best=max(chosen, self.progress.best)
        )
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
            raise self._diverged("weights or logits of held-out images became infinite or NaN", "")
        chosen = figures["clean" if training.defense.reads == ("clean",) else "robust"]
        better = chosen > self.progress.best
        if self.log is not None:
            self._check_folder()
            folders = [training.folder / LAST, *([training.folder] if better else [])]
            if training.snapshots:
                folders.append(training.folder / SNAPSHOTS / f"{epoch:03d}")
            for folder in folders:
                save_checkpoint(training.classifier, folder, training.model, training.name)
            self.log.write({"epoch": epoch, **figures, "best": better})
        return chosen

    def _check_folder(self) -> None:
        """Check that the folder is still the one that was opened: writing would make a part of it again.

        Raises:
            UserError: If it was removed or replaced.
        """
        folder = self.training.folder
        if not folder.is_dir() or folder.stat().st_ino != self.folder:
            raise UserError(
                f"{folder} was removed while the training worked, and all that was saved with it; the same command "
                "begins again"
            )

    def _pause(self) -> None:
        if self.world.size == 1:  # elsewhere processes may have different numbers of batches
            with exchanged(self.network, self.average):  # back, for what is saved
                self._poll_signals()
