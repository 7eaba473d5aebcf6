"""Whose gradients make the adversarial images of ensemble adversarial training."""

from collections.abc import Sequence

from attnlab.errors import UserError
from attnlab.models.classifier import Classifier
from attnlab.seeding import seed_of


def check_sources(current: Classifier, static: Sequence[Classifier]) -> None:
    """Refuse static classifiers that cannot attack in place of the current one.

    Raises:
        UserError: If there is none, or one takes other images or knows other classes.
    """
    if not static:
        raise UserError("expected --sources CHECKPOINT for the ensemble defense, once for each static model, got none")
    for number, source in enumerate(static, 1):
        for what in ("channels", "input_size", "classes"):
            wanted, got = getattr(current, what), getattr(source, what)
            if wanted != got:
                raise UserError(f"expected source {number} with {what} {wanted} as the trained model has, got {got}")


def draw_source(current: Classifier, static: Sequence[Classifier], seed: int, step: int) -> Classifier:
    """The source of a batch, drawn uniformly from the static classifiers and the current one (Tramer et al. 2018).

    A static source aims at the class that it finds the least likely itself. The draw depends on the run's seed and the
    number of the step alone, so that a run resumes in the middle and every process draws the same.

    Args:
        current: The classifier that is trained.
        static: Classifiers that were trained before and stay as they are; used in eval mode, as any attack does.
        seed: Of the run.
        step: Number of the training step.
    """
    sources = [current, *static]
    return sources[seed_of(seed, f"source of step {step}") % len(sources)]
