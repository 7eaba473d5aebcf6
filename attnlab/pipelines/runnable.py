"""Which attacks a model can be put to: one without gradients leaves an evaluation those that climb none."""

import warnings

from attnlab.attacks import CLEAN, OTHER_ATTACKS, Attacks
from attnlab.attacks.output_checks import has_gradient
from attnlab.errors import UserError
from attnlab.failures import naming
from attnlab.models.classifier import Classifier

#: an attack to propose where there are no gradients
BLACK_BOX = next(name for name, attack in OTHER_ATTACKS.items() if not attack.gradient)
#: of a model
NO_GRADIENT = "no gradient by its images (a torch.no_grad or a detach in its forward?)"


def check_attackable(classifier: Classifier) -> None:
    """Check that an analysis can attack a model: each of its attacks climbs a gradient, whatever its maps need.

    Raises:
        UserError: If the model has none.
    """
    with naming("a grey image"):
        if has_gradient(classifier):
            return
    raise UserError(
        f"the model's outputs have {NO_GRADIENT}, which every attack of `attnlab analyze` climbs; all tables, LIME's "
        "too, are about images before and after an attack, so nothing is left to do; `attnlab evaluate --attacks "
        f"clean,{BLACK_BOX}` needs none"
    )


def without_gradients(name: str, source: Classifier, attacks: Attacks) -> Attacks:
    """The attacks as they are, or, where the model has no gradient, with the attacks alone that need none.

    Args:
        name: Of the evaluated model, for people.
        source: The classifier whose gradients are climbed.
        attacks: What is asked for.

    Raises:
        UserError: If nothing is left.
    """
    climbing = [attack for attack, made in attacks.items() if made is not None and made.uses_gradient]
    if not climbing:
        return attacks
    with naming(f"a grey image ({name})"):
        if has_gradient(source):
            return attacks
    reason = f"the outputs of {name} have {NO_GRADIENT}"
    left = {attack: made for attack, made in attacks.items() if attack not in climbing}
    if not left:
        raise UserError(f"{reason}, which {', '.join(climbing)} climb; --attacks {CLEAN},{BLACK_BOX} needs none")
    hint = "" if BLACK_BOX in left else f"; {BLACK_BOX} needs none"
    warnings.warn(f"{reason}: left out {', '.join(climbing)}, which climb it{hint}", stacklevel=2)
    return left
