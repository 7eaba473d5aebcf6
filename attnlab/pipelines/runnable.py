"""Which attacks of an evaluation a model can be put to: one without gradients leaves those that climb none."""

import warnings
from dataclasses import replace

from attnlab.attacks import CLEAN, OTHER_ATTACKS
from attnlab.attacks.output_checks import has_gradient
from attnlab.errors import UserError
from attnlab.failures import naming
from attnlab.models.classifier import Classifier
from attnlab.pipelines.evaluation import Evaluation

#: an attack to propose where there are no gradients
BLACK_BOX = next(name for name, attack in OTHER_ATTACKS.items() if not attack.gradient)


def without_gradients(name: str, source: Classifier, evaluation: Evaluation) -> Evaluation:
    """The evaluation as it is, or, where the model has no gradient, with the attacks alone that need none.

    Args:
        name: Of the evaluated model, for people.
        source: The classifier whose gradients are climbed.
        evaluation: What is asked for.

    Raises:
        UserError: If nothing is left.
    """
    climbing = [attack for attack, made in evaluation.attacks.items() if made is not None and made.uses_gradient]
    if not climbing:
        return evaluation
    with naming(f"a grey image ({name})"):
        if has_gradient(source):
            return evaluation
    reason = f"the outputs of {name} have no gradient by its images (a torch.no_grad or a detach in its forward?)"
    left = {attack: made for attack, made in evaluation.attacks.items() if attack not in climbing}
    if not left:
        raise UserError(f"{reason}, which {', '.join(climbing)} climb; --attacks {CLEAN},{BLACK_BOX} needs none")
    hint = "" if BLACK_BOX in left else f"; {BLACK_BOX} needs none"
    warnings.warn(f"{reason}: left out {', '.join(climbing)}, which climb it{hint}", stacklevel=2)
    return replace(evaluation, attacks=left)
