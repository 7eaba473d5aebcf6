"""From what a user writes to a defence: `madry`, `alp+aad`, `aad`, `trades+aad+awp`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from attnlab.errors import UserError, nearest
from attnlab.training import AAD, DEFENSES, ENDINGS, SHORT, Defense, Ending


def parse_defense(
    name: str, *, loss_weight: float | None = None, classification: str | None = None, **options: Any
) -> Defense:
    """The defence of that name: one in DEFENSES or SHORT, with endings of ENDINGS behind it or not.

    `loss_weight` is of the second part of the loss; `options` are those of ENDINGS, each for its ending: `alpha`,
    `beta`, `fill` and `attention_loss` of `+aad`, `awp_gamma` and `awp_warmup` of `+awp`. None stands for the defence's
    own value, or what `attention_loss` implies.

    Raises:
        UserError: If a part of the name is unknown, with the names and the nearest, a value does not fit or contradicts
            another, or one is given that the defence has no use for.
    """
    stem, endings = _parts(name)
    of_logits: dict[str, Any] = {} if classification is None else {"classification": classification}
    defense = DEFENSES[stem]
    if loss_weight is not None:
        if not defense.weight:
            weighted = ", ".join(other for other, known in DEFENSES.items() if known.weight)
            raise UserError(
                f"expected --loss-weight with {weighted} alone, whose losses have a second part, got {name}"
            )
        defense = replace(defense, weight=loss_weight)
    for plus, ending in ENDINGS.items():
        given = {field: options.pop(option, None) for option, field in ending.options.items()}
        asked = {field: value for field, value in given.items() if value is not None}
        if plus in endings:
            own = {**ending.changes, **ending.others.get(stem, {}), **_implied(ending, asked)}
            defense = replace(defense, **{**own, **asked, **of_logits})
        elif asked:
            option = next(option for option, field in ending.options.items() if field in asked).replace("_", "-")
            raise UserError(f"expected --{option} with {plus} alone, got {name}; did you mean {name}{plus}?")
    if options:
        raise TypeError(f"expected options of {', '.join(ENDINGS)}, got {', '.join(options)}")
    return replace(defense, **of_logits)


def _implied(ending: Ending, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the names that were asked for imply."""
    implied: dict[str, Any] = {}
    for option, registry in ending.named.items():
        if option in asked:
            implied |= registry.expect(asked[option]).implies
    return implied


def spelled_out(name: str, defense: Defense | None = None) -> str:
    """A defence's whole name, its endings in their order: madry+aad for aad.

    Where the defence that it was parsed to has both weights of attention at 0, `+aad` is left out.
    """
    stem, endings = _parts(name)
    plain = defense is not None and not defense.attends
    return stem + "".join(plus for plus in ENDINGS if plus in endings and not (plus == AAD and plain))


def _parts(name: str) -> tuple[str, list[str]]:
    """The defence that a name begins with, and the endings behind it, in any order, none twice or at odds."""
    first, *rest = name.split("+")
    stem, *others = [*SHORT.get(first, first).split("+"), *rest]
    endings = [f"+{other}" for other in others]
    if stem not in DEFENSES or not set(endings) <= set(ENDINGS) or not _agree(endings):
        listed = ", ".join(defense_names())
        raise UserError(f"expected a defense of {listed}, got {name!r}{nearest(name, known_defenses())}")
    return stem, endings


def defense_names() -> list[str]:
    """How defences may be written, for people."""
    endings = f"{', '.join(ENDINGS)}, or several such as {''.join(ENDINGS)}"
    return [*DEFENSES, f"each also with {endings}", *(f"{short} (short for {long})" for short, long in SHORT.items())]


def known_defenses() -> list[str]:
    """Every name of a defence, as it is completed."""
    chosen = [endings for count in range(len(ENDINGS) + 1) for endings in combinations(ENDINGS, count)]
    stems = (*DEFENSES, *SHORT)
    return [stem + "".join(endings) for endings in chosen for stem in stems if _agree([*_parts(stem)[1], *endings])]


def _agree(endings: Sequence[str]) -> bool:
    """Whether no two endings change the same field."""
    changed = [field for plus in endings for field in ENDINGS[plus].changes]
    return len(set(changed)) == len(changed)
