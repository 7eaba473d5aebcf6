"""All figures of one or several checkpoints: Figs. 2, 6, 7 and 9-12."""

from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

from attnlab.looks import Series
from attnlab.report.figures import models
from attnlab.report.figures.drawing import Drawing, Drawn, LeftOut, Maker, draw

T = TypeVar("T")

#: images of Fig. 2
EXAMPLES = 2
CHOSEN = "Images: of typical confidence among those that {which}"
BELOW = "Below each map, the predicted class and its confidence, in red where it is wrong"


class Gallery(Protocol):
    """Models and the images they look at; `pipelines.gallery_job` opens them."""

    @property
    def names(self) -> list[str]:
        """What each model is called."""
        ...

    @property
    def defenses(self) -> list[str]:
        """What each was trained with."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""
        ...

    @property
    def named(self) -> bool:
        """Whether the user named the images."""
        ...

    @property
    def told(self) -> str:
        """Data and attack, for captions."""
        ...

    @property
    def told_of_rounds(self) -> str:
        """Data and attack of Figs. 2 and 12."""
        ...

    def rounds(self, count: int) -> list[tuple[Series, Series]]:
        """Of each image its series under StepLL and under StepLL with A3."""
        ...

    def epochs(self) -> tuple[list[int], list[Series]]:
        """Numbers of epochs, and of each image its series over them."""
        ...

    def compared(self) -> list[Series]:
        """Of each image its series over the models."""
        ...

    def defended(self, model: int) -> tuple[list[Series], list[Series]]:
        """Successful and failed defence of a model, beside the first."""
        ...


def draw_checkpoints(gallery: Gallery, out: Path, only: Collection[str] = (), *, grid: bool = False) -> Drawn:
    """Draw what checkpoints make of images.

    Args:
        gallery: One model: Figs. 2, 12 and, where it has snapshots, 6. Several: Figs. 7, 9 and 10 or 11, the first
            standing for the undefended model.
        out: Where the files go.
        only: Names of figures; by default all that can be made.
        grid: Draw the borders of the maps' cells.

    Raises:
        UserError: If a figure is unknown or cannot be made, or the folder cannot be written.
    """
    classes = gallery.classes
    compared = cache(gallery.compared)  # Figs. 7 and 9 show the same images

    def chosen(which: str) -> str:
        return "Images as named" if gallery.named else CHOSEN.format(which=which)

    def two(_notes: list[str]) -> Iterator[Drawing]:
        pairs = some(gallery.rounds(EXAMPLES), "no image is classified correctly")
        caption = (
            "Figure 2. The change of activation map in iterative attack: original image, activation map of the "
            f"original image and of the adversarial images after 1-{len(pairs[0][0].adversarial)} rounds. {BELOW}. "
            f"{gallery.told_of_rounds}. {chosen('the attack leads astray')}."
        )
        yield Drawing("figure2", caption, models.figure2([plain for plain, _ in pairs], classes, grid=grid))

    def twelve(_notes: list[str]) -> Iterator[Drawing]:
        pairs = some(gallery.rounds(1), "no image is classified correctly")
        caption = (
            "Figure 12. Activation map change in different attack rounds under StepLL (top row) and StepLL + A3 Attack "
            f"(bottom row). {BELOW}. {gallery.told_of_rounds}. {chosen('StepLL leads astray')}."
        )
        yield Drawing("figure12", caption, models.figure12(pairs, classes, grid=grid))

    def six(_notes: list[str]) -> Iterator[Drawing]:
        epochs, images = gallery.epochs()
        some(epochs, "the checkpoint has no snapshots; `attnlab train --snapshots` leaves them")
        some(images, "the last snapshot classifies no image correctly")
        caption = (
            "Figure 6. Activation map evolution in different training epochs, of the original image (top row) and of "
            f"each epoch's own adversarial image (bottom row). {BELOW}. {gallery.told}. "
            f"{chosen('the last epoch classifies correctly')}."
        )
        yield Drawing("figure6", caption, models.figure6(images, epochs, classes, grid=grid))

    def seven(_notes: list[str]) -> Iterator[Drawing]:
        images = some(compared(), "there is no image that all models classify correctly")
        caption = (
            "Figure 7. Original image, adversarial image and its activation map under each defence; each model is "
            f"attacked itself. {BELOW}. {gallery.told}. {chosen('all models classify correctly')}."
        )
        yield Drawing("figure7", caption, models.figure7(images, gallery.names, classes, grid=grid))

    def nine(_notes: list[str]) -> Iterator[Drawing]:
        images = some(compared(), "there is no image that all models classify correctly")
        caption = (
            "Figure 9. Activation maps of original images and of adversarial images, each model being attacked itself: "
            f"{', '.join(gallery.names)}. {BELOW}. {gallery.told}. {chosen('all models classify correctly')}."
        )
        yield Drawing("figure9", caption, models.figure9(images, gallery.names, classes, grid=grid))

    def defense(which: Sequence[int]) -> Maker:
        def make(notes: list[str]) -> Iterator[Drawing]:
            for model in which:
                yield _defense(gallery, model, notes, chosen("mislead the first model"), grid=grid)

        return make

    makers: dict[str, Maker] = {"figure2": two, "figure12": twelve, "figure6": six}
    if len(gallery.names) > 1:
        makers = {"figure7": seven, "figure9": nine}
        stepll = [number for number, name in enumerate(gallery.defenses) if number and name.startswith("stepll")]
        others = [number for number in range(1, len(gallery.names)) if number not in stepll]
        makers |= {name: defense(which) for name, which in (("figure10", others), ("figure11", stepll)) if which}
    return draw(makers, out, ", ".join(gallery.names), only)


def some(values: list[T], reason: str) -> list[T]:
    """The values, if there are any.

    Raises:
        LeftOut: If there are none.
    """
    if not values:
        raise LeftOut(reason)
    return values


def _defense(gallery: Gallery, model: int, notes: list[str], chosen: str, *, grid: bool) -> Drawing:
    """Fig. 10 or 11 of a model."""
    number = 11 if gallery.defenses[model].startswith("stepll") else 10
    several = len(gallery.names) > 2
    name = f"figure{number}-{gallery.names[model]}" if several else f"figure{number}"
    found = dict(zip(("(a) successful", "(b) failed"), gallery.defended(model), strict=True))
    some([one for images in found.values() for one in images], "no attack misleads the first model")
    for which, images in found.items():
        if not images:
            notes.append(f"{name}: there is no image for {which} defence, whose row is left out")
    groups = [(which, images) for which, images in found.items() if images]
    models_ = [gallery.names[0], gallery.names[model]]
    caption = (
        f"Figure {number}. Example cases of (a) successful and (b) failed defense for adversarial training "
        f"({gallery.defenses[model]}): original image, activation map of the adversarial image for {models_[0]}, and "
        f"of the adversarial image for {models_[1]}, each attacked itself. {BELOW}. {gallery.told}. {chosen}."
    )
    return Drawing(name, caption, models.figure10(groups, models_, gallery.classes, grid=grid))
