"""Common corruptions by name (Hendrycks and Dietterich 2019), with the authors' constants; no numpy before one is used.

The constants are those of the scripts that made ImageNet-C (224 pixels), Tiny-ImageNet-C (64) and CIFAR-10-C (32).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from attnlab.errors import UserError, check_between
from attnlab.registry import Lazy, Registry

if TYPE_CHECKING:
    from attnlab.arrays import Images

SEVERITIES = 5
AT = "@"  # between a kind of corruption and its severity: `fog@3`
ALL = "corruptions"  # every kind
SIDES = (32, 64, 224)  # of the images that the authors published, in pixels


class CorruptionKind(NamedTuple):
    """A kind of corruption."""

    # (pixels 0 to 255, (H, W, 3), uint8; constants; the image's random numbers) -> pixels likewise, of any number type
    run: Callable[..., Any]
    constants: Mapping[int, tuple[Any, ...]]  # side of published images -> what the code takes, for each severity


def _kind(run: str, small: tuple[Any, ...], tiny: tuple[Any, ...], large: tuple[Any, ...]) -> CorruptionKind:
    return CorruptionKind(
        Lazy(f"attnlab.attacks.corruptions.{run}"), dict(zip(SIDES, (small, tiny, large), strict=True))
    )


_SNOW_LAYER = (
    (0.1, 0.2, 1, 0.6, 8, 3),
    (0.1, 0.2, 1, 0.5, 10, 4),
    (0.15, 0.3, 1.75, 0.55, 10, 4),
    (0.25, 0.3, 2.25, 0.6, 12, 6),
    (0.3, 0.3, 1.25, 0.65, 14, 12),
)
_ZOOM = tuple((end, 0.01) for end in (1.06, 1.11, 1.16, 1.21, 1.26))
_STRONG = (0.4, 0.3, 0.2, 0.1, 0.05)


def _snow(shares: tuple[float, ...]) -> tuple[Any, ...]:
    return tuple((*layer, share) for layer, share in zip(_SNOW_LAYER, shares, strict=True))


def _elastic(side: int, *shares: tuple[float, float, float]) -> tuple[Any, ...]:
    return tuple(tuple(side * share for share in of_one) for of_one in shares)


#: kinds of corruptions, in the authors' order: constants of 32, 64 and 224 pixels, by severity; a new one is a function
#: and a line here
CORRUPTIONS = Registry(
    "corruption",
    {
        "gaussian-noise": _kind(
            "noise:gaussian",
            (0.04, 0.06, 0.08, 0.09, 0.1),
            (0.04, 0.08, 0.12, 0.15, 0.18),
            (0.08, 0.12, 0.18, 0.26, 0.38),
        ),
        "shot-noise": _kind("noise:shot", (500, 250, 100, 75, 50), (250, 100, 50, 30, 15), (60, 25, 12, 5, 3)),
        "impulse-noise": _kind(
            "noise:impulse",
            (0.01, 0.02, 0.03, 0.05, 0.07),
            (0.01, 0.02, 0.05, 0.08, 0.14),
            (0.03, 0.06, 0.09, 0.17, 0.27),
        ),
        "defocus-blur": _kind(
            "blur:defocus",
            ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
            ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
            ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        ),
        "glass-blur": _kind(
            "blur:glass",
            ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
            ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
            ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        ),
        "motion-blur": _kind(
            "blur:motion",
            ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
            ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
            ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        ),
        "zoom-blur": _kind(
            "blur:zoomed", _ZOOM, _ZOOM, ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
        ),
        "snow": _kind(
            "weather:snow",
            _snow((0.95, 0.9, 0.9, 0.85, 0.8)),
            _snow((0.8, 0.8, 0.7, 0.65, 0.6)),
            (
                (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
                (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
                (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
            ),
        ),
        "frost": _kind(
            "weather:frost",
            ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
            ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
            ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
        ),
        "fog": _kind(
            "weather:fog",
            ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
            ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
            ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        ),
        "brightness": _kind(
            "digital:brightness", (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5), (0.1, 0.2, 0.3, 0.4, 0.5)
        ),
        "contrast": _kind("digital:contrast", (0.75, 0.5, 0.4, 0.3, 0.15), _STRONG, _STRONG),
        "elastic-transform": _kind(
            "digital:elastic",
            _elastic(32, (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
            _elastic(64, (0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
            # 244 is the authors' own slip for 224
            _elastic(244, (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
        ),
        "pixelate": _kind(
            "digital:pixelate", (0.95, 0.9, 0.85, 0.75, 0.65), (0.9, 0.8, 0.7, 0.6, 0.5), (0.6, 0.5, 0.4, 0.3, 0.25)
        ),
        "jpeg-compression": _kind("digital:jpeg", (80, 65, 58, 50, 40), (65, 58, 50, 40, 25), (25, 18, 15, 10, 7)),
    },
)


@dataclass(frozen=True)
class Corruption:
    """A corruption of one severity: nobody's attack, so it has no budget and climbs nothing.

    Raises:
        UserError: If there is no such kind, or the severity is not 1 to 5.
    """

    corruption: str
    severity: int

    def __post_init__(self) -> None:
        CORRUPTIONS.expect(self.corruption)
        check_between(self.severity, 1, SEVERITIES, f"the severity of {self.corruption}")

    uses_gradient, uses_maps, starts_clean, random_start = False, False, False, True
    eps = distance = target = None
    where, norm = "all", "linf"

    def __str__(self) -> str:
        return f"{self.corruption}{AT}{self.severity}"

    def __call__(self, images: "Images", seeds: Sequence[int]) -> "Images":
        """Corrupted images in whole grey levels, see `attnlab.attacks.corruptions.images.corrupted`."""
        made: Images = Lazy("attnlab.attacks.corruptions.images:corrupted")(images, self, seeds)
        return made


def is_corruption(name: str) -> bool:
    """Whether a name is meant as one of corruptions: `fog@3`, `fog` or `corruptions@3`."""
    return name.partition(AT)[0] in (*CORRUPTIONS, ALL)


def parse_corruptions(name: str) -> list[Corruption]:
    """What a name stands for: `fog@3`, `fog` in each severity, `corruptions` of every kind, `corruptions@3` likewise.

    Raises:
        UserError: If the severity is none.
    """
    kind, at, digits = name.partition(AT)
    if at and digits not in map(str, range(1, SEVERITIES + 1)):
        raise UserError(f"expected a severity from 1 to {SEVERITIES} behind {kind}{AT}, got {name!r}")
    severities = [int(digits)] if at else range(1, SEVERITIES + 1)
    kinds = list(CORRUPTIONS) if kind == ALL else [kind]
    return [Corruption(one, severity) for one in kinds for severity in severities]


def one_corruption(name: str) -> Corruption:
    """The corruption of a name such as `fog@3`; a name that stands for several is refused."""
    one, *more = parse_corruptions(name)
    if more:
        raise UserError(f"expected one corruption and severity, such as {one}, got {name!r}, which stands for several")
    return one


def known_corruptions() -> list[str]:
    """Every corruption of one severity, as it is completed."""
    return [f"{kind}{AT}{severity}" for kind in CORRUPTIONS for severity in range(1, SEVERITIES + 1)]
