"""From what a user writes to a defence: `madry`, `alp+aad`, `aad`."""

from dataclasses import replace

from attnlab.errors import UserError, nearest
from attnlab.training import AAD, DEFENSES, SHORT, Defense

#: alpha and beta of section 5.4
WEIGHT = 0.01


def parse_defense(
    name: str,
    *,
    loss_weight: float | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    fill: str | None = None,
    classification: str = "cross-entropy",
) -> Defense:
    """The defence of that name: one in DEFENSES, with `+aad` behind it or not, or a name in SHORT.

    Args:
        name: Such as `madry`, `alp+aad`.
        loss_weight: Of the second part of the loss, where it has one; None for the defence's own.
        alpha: Weight of attention rectification, for `+aad`; None for WEIGHT.
        beta: Weight of attention preservation, for `+aad`; None for WEIGHT.
        fill: What hides the attended pixels, for `+aad`: a name in FILLS; None for black.
        classification: Loss the images are classified by: a name in CLASSIFICATIONS.

    Raises:
        UserError: If a part of the name is unknown, with the names and the nearest, a value does not fit, or one is
            given that the defence has no use for.
    """
    stem, plus, rest = SHORT.get(name, name).partition("+")
    if stem not in DEFENSES or plus + rest not in ("", AAD):
        listed = ", ".join(defense_names())
        raise UserError(f"expected a defense of {listed}, got {name!r}{nearest(name, known_defenses())}")
    defense = replace(DEFENSES[stem], classification=classification)
    if loss_weight is not None:
        if not defense.weight:
            weighted = ", ".join(other for other, known in DEFENSES.items() if known.weight)
            raise UserError(
                f"expected --loss-weight with {weighted} alone, whose losses have a second part, got {name}"
            )
        defense = replace(defense, weight=loss_weight)
    if plus:
        alpha, beta = (WEIGHT if weight is None else weight for weight in (alpha, beta))
        return replace(defense, alpha=alpha, beta=beta, fill=fill or defense.fill)
    for option, value in (("alpha", alpha), ("beta", beta), ("fill", fill)):
        if value is not None:
            raise UserError(f"expected --{option} with {AAD} alone, got {name}; did you mean {name}{AAD}?")
    return defense


def defense_names() -> list[str]:
    """How defences may be written, for people."""
    return [*DEFENSES, f"each also with {AAD}", *(f"{short} (short for {long})" for short, long in SHORT.items())]


def known_defenses() -> list[str]:
    """Every name of a defence, as it is completed."""
    return [*(stem + ending for ending in ("", AAD) for stem in DEFENSES), *SHORT]
