"""Configuration of an analysis."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from attnlab.attacks import Attack
from attnlab.attacks.corruptions import Corruption
from attnlab.attention import FITS, METHODS, SAMPLINGS
from attnlab.config.attack import AttackOptions, an_attack, several_eps
from attnlab.config.option import Options, option, variant
from attnlab.config.sections import (
    DataOptions,
    ModelOptions,
    ProcessOptions,
    RunOptions,
    among,
    texts,
    whole_numbers,
)
from attnlab.data import TRUTHS
from attnlab.errors import UserError
from attnlab.measures import ALL

DIGITS = 20  # of a number of samples, written out
AUTO = "auto"  # as many LIME samples as it takes, the way of cutting that suits the images


def samples(text: str) -> int | str:
    """A number of LIME samples, or `auto`.

    Raises:
        UserError: If it is neither.
    """
    if text == AUTO:
        return text
    if not text.isdecimal():
        raise UserError(f"expected --lime-samples to be a whole number or auto, got {text[:40]!r}")
    return int(text[: DIGITS + 1])  # longer ones are far too many as they are, and Python refuses the longest


def check_measures(names: Sequence[str]) -> None:
    """Refuse a measure that is named twice, or beside `all`."""
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise UserError(f"expected each of --measures once, got {twice[0]} twice")
    if ALL in names and len(names) > 1:
        raise UserError(f"expected --measures {ALL} alone, got {','.join(names)}")


@dataclass(frozen=True)
class MapAttackOptions(AttackOptions):
    """The attack whose images' maps are compared with the clean ones'.

    Attributes:
        name: Attack: {attacks}, which adds the attention deviation; or a corruption and its severity, such as fog@3.
        eps: Budget in that norm, pixels in [0, 1], as a number or a fraction; several with commas between them
            (4/255,8/255,16/255) share the clean pass, and the tables gain an eps column. By default {eps}; with
            --norm l2 it is to be given.
        label_smoothing: Share of the cross-entropy's target that is spread over all classes, in [0, 1).
    """

    name: str | Attack | Corruption = variant(
        AttackOptions, "name", default="stepll", check=an_attack, kinds=("attacks", "corruptions")
    )
    eps: tuple[float, ...] | None = variant(AttackOptions, "eps", parse=several_eps)
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class MapDataOptions(DataOptions):
    """Images whose maps are compared with ground truth.

    Attributes:
        truth: Ground truth: `mask`, an object's mask where it has one, else its box; or `box`, of an object without a
            box the frame around its mask.
    """

    truth: str = option(TRUTHS[0], choices=TRUTHS, decides=True, sparse=True)


@dataclass(frozen=True)
class LimeOptions(Options):
    """Settings of LIME explanations.

    Attributes:
        samples: Perturbed images per explanation; `auto` stops when the areas have not changed over 300, at 1000 at the
            latest.
        superpixels: quickshift, slic or grid; auto: slic for images of one channel or a shorter side of at most 64
            pixels, in which quickshift finds few, else quickshift.
        hide: What replaces a hidden superpixel: `grey`, or `mean`, its own mean colour.
        segments: Superpixels of adversarial images: cut from their `own` pixels, or `shared` with the clean image.
        features: Numbers of superpixels in Tables 4 and 5.
        gt: What LIME areas are compared with: `matched`, the box scaled about its centre to the area's size, or `box`,
            the box as it is.
        floor: Explain clean images a second time from another seed: the noise floor of Tables 4 and 5.
        batch_size: LIME samples per forward pass; by default the fastest of those tried.
        compile: Compile LIME's passes on a GPU with torch.compile: up to a minute at first, then faster; needs Triton.
        engine: `batched` composes the samples of several images at once; `lime` calls the lime package itself, which
            finds the same weights and takes longer: random sampling of a fixed number alone.
        sampling: Which superpixels the samples show: a `random` half; `paired`, each followed by its complement; or
            `orthogonal`, such pairs in blocks that show every two superpixels as often together as apart.
        fit: How weights are made of the samples: `ridge`, LIME's regression; or `surrogate`, the same regression of
            what a Gaussian process expects of 16 times as many after learning them: less noise by as many passes.
    """

    PREFIX: ClassVar[str] = "lime_"

    samples: int | str = option(1000, parse=samples, smoke=20)
    superpixels: str = AUTO
    hide: str = "grey"
    segments: str = option("own", check=among("own", "shared"), decides=True)
    features: tuple[int, ...] = option((8, 10), name="features", parse=whole_numbers)
    gt: str = option("matched", choices=("matched", "box"))
    floor: bool = option(True, decides=True)
    batch_size: int | None = option(None, least=1)
    compile: bool = option(False, decides=True, sparse=True)
    engine: str = option("batched", choices=("batched", "lime"), decides=True, sparse=True)
    sampling: str = option("random", choices=tuple(SAMPLINGS), decides=True, sparse=True)
    fit: str = option("ridge", choices=tuple(FITS), decides=True, sparse=True)

    def __post_init__(self) -> None:
        """Check what several options say together."""
        super().__post_init__()
        if self.engine == "lime" and self.sampling != "random":
            raise UserError(
                f"expected --lime-sampling random with --lime-engine lime, got {self.sampling}: lime shows the whole "
                "image first and draws the others at random; --lime-engine batched takes each sampling"
            )
        if self.engine == "lime" and self.fit != "ridge":
            raise UserError(
                f"expected --lime-fit ridge with --lime-engine lime, got {self.fit}: lime makes its own regression; "
                "--lime-engine batched takes each fit"
            )
        if self.engine == "lime" and self.samples == AUTO:
            raise UserError(
                "expected --lime-samples to be a whole number with --lime-engine lime, got auto: lime takes a fixed "
                "number"
            )


@dataclass(frozen=True)
class AnalyzeConfig(Options):
    """Configuration of `attnlab analyze`.

    Attributes:
        methods: Attention methods with commas between them: any whose maps Tables 1-3 are about, which share the
            passes, and `lime` (Tables 4, 5); `attnlab list methods` names what there is.
        target: Class the maps explain: `true` (the label, clean and adversarial) or `predicted` (each image's own); by
            default {targets}.
        keep_maps: Keep maps at the images' resolution in the records, half a byte to two a pixel; else their sums over
            the layer's cells alone.
        sanity: Compare the methods' maps with those under random weights, and mark in the tables the methods that do
            not notice: 21 times the maps of 16 images.
        measures: Measures of the maps of the images that the tables use, with commas between them, or `all` that the
            data allow: {measures}.
        map_batch_size: Images of a forward pass that a method makes of its own, LIME apart; by default the fastest of
            those tried, or where trying would take longer than the passes --batch-size.
    """

    data: MapDataOptions = field(default_factory=MapDataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    methods: tuple[str, ...] = option(("grad-cam",), name="method", parse=texts, names="methods", many=True)
    target: str = option("", names="targets")
    keep_maps: bool = option(False, decides=True, sparse=True)
    sanity: bool = False
    measures: tuple[str, ...] = option((), parse=texts, names="measures", many=True)
    map_batch_size: int | None = option(None, least=1)
    attack: MapAttackOptions = field(default_factory=MapAttackOptions)
    lime: LimeOptions = field(default_factory=LimeOptions)
    run: RunOptions = field(default_factory=RunOptions)
    processes: ProcessOptions = field(default_factory=ProcessOptions)

    def __post_init__(self) -> None:
        """Check what several options say together."""
        super().__post_init__()
        if not self.methods:
            raise UserError(f"expected --method to name one or more of {', '.join(METHODS)}")
        self._check_methods()
        check_measures(self.measures)
        if self.lime.compile and not self.with_lime:
            raise UserError(
                f"expected --lime-compile with --method lime, got {','.join(self.methods)}: it compiles LIME's passes "
                "alone"
            )
        if self.sanity and not self.map_methods:
            raise UserError(
                f"expected --sanity with a --method of Tables 1-3, got {','.join(self.methods)}: under random weights "
                "LIME takes as many passes again each time"
            )
        budgets = self.attack.eps
        if budgets is not None and (not budgets or len(set(budgets)) < len(budgets)):
            raise UserError(f"expected one or more eps, each once, got {', '.join(map(str, budgets)) or 'none'}")

    def _check_methods(self) -> None:
        """Refuse a method that is named twice, and maps to keep where no method has any."""
        for number, name in enumerate(self.methods):
            for other in self.methods[:number]:
                same = METHODS[name].maps is not None and METHODS[name].maps == METHODS[other].maps
                if name == other or same:
                    both = f"{name} twice" if name == other else f"{other} and {name}, which are the same"
                    raise UserError(f"expected each --method once, got {both}")
        if self.keep_maps and not any(METHODS[name].at == "pixels" for name in self.map_methods):
            raise UserError(
                f"expected --keep-maps with a --method whose maps are at the images' resolution, got "
                f"{','.join(self.methods)}: maps at the layer's are kept anyway, and LIME's explanations too"
            )

    @property
    def with_lime(self) -> bool:
        """Whether LIME explanations are made."""
        return "lime" in self.methods

    @property
    def map_methods(self) -> list[str]:
        """The methods whose maps Tables 1-3 are about, in their order."""
        return [name for name in self.methods if METHODS[name].maps is not None]

    @property
    def own_methods(self) -> list[str]:
        """Those of them that make passes of their own."""
        return [name for name in self.map_methods if METHODS[name].needs == "passes"]

    @property
    def targets(self) -> dict[str, str]:
        """Class that the maps of each of them explain, see `target_of`."""
        return {name: self.target_of(name) for name in self.map_methods}

    def target_of(self, method: str) -> str:
        """Class that a method's maps explain: the `true` label, or each image's own `predicted` class."""
        return self.target or METHODS[method].target
