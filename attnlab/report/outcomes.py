"""What the two outcomes of an attack are called: in tables, on pages, in figures and in captions."""

from dataclasses import dataclass

GROUPS = ("succeed", "fail")  # as the code names them: the attack changes the prediction, or not


@dataclass(frozen=True)
class Outcomes:
    """Names of both GROUPS, in their order.

    Attributes:
        names: In tables and files.
        words: On pages and in figures.
        meanings: What each says of an image.
        images: An image of each, in captions.
        share: What the share of the first says, on pages.
    """

    names: tuple[str, str]
    words: tuple[str, str]
    meanings: tuple[str, str]
    images: tuple[str, str]
    share: str = "of the tables' images change class under attack"

    def name(self, group: str) -> str:
        """A group in tables; what is none of GROUPS, such as `misclassified`, as it is."""
        return self.names[GROUPS.index(group)] if group in GROUPS else group

    def word(self, group: str) -> str:
        """A group on pages and in figures, likewise."""
        return self.words[GROUPS.index(group)] if group in GROUPS else group

    @property
    def sentence(self) -> str:
        """Names and meanings, for captions of tables."""
        return "; ".join(f"I_{name}: {meaning}" for name, meaning in zip(self.names, self.meanings, strict=True))

    def in_caption(self, text: str) -> str:
        """A caption that has the sentence of CHANGED with this one in its place."""
        return text.replace(CHANGED.sentence, self.sentence)


#: of an attack that is to change predictions
CHANGED = Outcomes(
    GROUPS,
    GROUPS,
    ("the attack changes the prediction", "it does not"),
    ("the successfully attacked image", "the failed-attacked image"),
)
#: of an attack that is to move maps and leave predictions as they are
KEPT = Outcomes(
    ("lost", "kept"),
    ("prediction lost", "prediction kept"),
    ("the attack changes the prediction", "it leaves the prediction as it is"),
    ("the image whose prediction the attack changes", "the image whose prediction the attack keeps"),
)
#: of a targeted attack
REACHED = Outcomes(
    GROUPS,
    GROUPS,
    ("the attack makes the prediction its target", "it does not"),
    CHANGED.images,
    "of the tables' images are predicted as the target under attack",
)


def image_of(word: str) -> str:
    """An image of a group, in captions, by the group's word."""
    images = dict(zip(CHANGED.words + KEPT.words, CHANGED.images + KEPT.images, strict=True))
    return images.get(word, f"the {word} image")
