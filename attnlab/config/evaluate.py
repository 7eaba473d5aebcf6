"""Configurations of an evaluation, and of adversarial images to keep."""

from dataclasses import dataclass, field
from typing import Any

from attnlab.attacks import Attack
from attnlab.attacks.others import Attacks
from attnlab.attacks.parse import TABLE6
from attnlab.config.attack import AttackOptions
from attnlab.config.option import Options, option, variant
from attnlab.config.sections import (
    AccuracyDataOptions,
    ModelOptions,
    ModelsOptions,
    ProcessOptions,
    RunOptions,
)


@dataclass(frozen=True)
class TransferOptions(AttackOptions):
    """An attack that may be made on another model.

    Attributes:
        transfer: Make the adversarial images on this model instead. --mean and --std do not apply to it: its images are
            normalised as it says itself.
    """

    eps: float | None = variant(AttackOptions, "eps")
    transfer: str | None = option(None, metavar="MODEL", kinds=("models",), or_file=True, decides=True)


@dataclass(frozen=True)
class EvaluatedAttackOptions(TransferOptions):
    """The attacks of an evaluation.

    Attributes:
        name: Attacks with commas between them; `attnlab list attacks` names them. A number behind {iterative} is its
            number of steps; +a3 behind any adds the attention deviation. fog@3 is a corruption and its severity, fog
            all five, `corruptions` every kind.
        stop: Let an image leave an attack at the first point that is misclassified: faster, and the accuracy is then
            the worst point's, not the last one's as in the paper.
    """

    name: str | Attacks = variant(
        AttackOptions, "name", default=TABLE6, name="attacks", kinds=("others", "attacks", "corruptions"), many=True
    )
    stop: bool = option(False, decides=True)


@dataclass(frozen=True)
class EvaluateConfig(Options):
    """Configuration of `attnlab evaluate`.

    Attributes:
        check: Check for masked gradients and mistakes of protocol at the end, and write what is found to checks.csv.
    """

    data: AccuracyDataOptions = field(default_factory=AccuracyDataOptions)
    model: ModelsOptions = field(default_factory=ModelsOptions)
    attack: EvaluatedAttackOptions = field(default_factory=EvaluatedAttackOptions)
    check: bool = True
    run: RunOptions = field(default_factory=RunOptions)
    processes: ProcessOptions = field(default_factory=ProcessOptions)


@dataclass(frozen=True)
class AttackConfig(Options):
    """Configuration of `attnlab attack`."""

    data: AccuracyDataOptions = field(default_factory=AccuracyDataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    attack: TransferOptions = field(default_factory=TransferOptions)
    run: RunOptions = field(default_factory=RunOptions)
    processes: ProcessOptions = field(default_factory=ProcessOptions)

    def evaluation(self) -> EvaluateConfig:
        """The evaluation under the one attack."""
        values: dict[str, Any] = self.flat()
        name, model, weights = (values.pop(option) for option in ("attack", "model", "weights"))
        return EvaluateConfig.of(
            attacks={"attack": name} if isinstance(name, Attack) else name,
            models=() if model is None else (model,),
            weights=(weights,),
            check=False,
            **values,
        )
