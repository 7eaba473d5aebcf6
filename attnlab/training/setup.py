"""What a training is made of: classifier, defence, plan, images, folder."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from attnlab.attacks import Attack
from attnlab.models.classifier import Classifier
from attnlab.training import Defense
from attnlab.training.distributed import ProcessGroup
from attnlab.training.images import Images
from attnlab.training.recipes import Plan


@dataclass(frozen=True)
class TrainingSetup:
    """What a training is made of.

    Attributes:
        classifier: On its device; trained in place.
        model: Name that `load_model` builds the network from.
        name: Of the defence, spelled out: madry+aad where the user wrote aad, madry where both its weights are 0.
        defense: What is descended.
        plan: How long, how fast, under which attack.
        images: To train on.
        held_out: To validate on.
        folder: The run's; the best checkpoint lies in it, the last in `last`.
        seed: Of order, augmentation, starts and dropout.
        sources: Static classifiers of ensemble adversarial training.
        bf16: Run forward passes in bfloat16 where torch's autocast does.
        compiled: Let torch.compile make the step and the attack's passes.
        cuda_graph: Record the attack where a GPU can; see `Adversary`.
        snapshots: Keep the checkpoint of every epoch in `epochs`.
        tensorboard: Write the log's curves to `tensorboard`.
        world: The processes that train together; see `ProcessGroup.share_norms` for batch norms.
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
    cuda_graph: bool = True
    snapshots: bool = False
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
