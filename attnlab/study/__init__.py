"""Are the paper's claims true, and of which models? Claims as data; effects, controls and verdicts from records alone.

One more claim is one entry in CLAIMS about columns of the table of images: every effect, control, verdict, table and
figure follows. What computes is imported when it is used.
"""

from dataclasses import dataclass
from typing import Literal

from attnlab.registry import Registry

#: what a claim compares: images of one model by the attack's outcome, two models on the same images, or two attacks
Compares = Literal["images", "models", "attacks"]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, as a difference between two groups.

    Every effect is turned by `sign` so that it is positive where the claim has it so.

    Attributes:
        sentence: What the paper says.
        compares: Which pairs of groups it is about.
        outcome: Column of 0 and 1 that makes the groups; of models whether one is defended, of attacks whether it is
            an A3 attack.
        groups: What images of outcome 1 and of outcome 0 are called.
        measure: Column that is compared.
        sign: 1 where the claim has the group of outcome 1 higher, -1 where it has it lower.
        controls: Columns that may explain the difference instead.
        centred: Column of the same measure less that of a centred frame, where there is one.
        attacked: Whether the attack's outcome matters, so that it is looked at for each eps.
        title: Of its figure.
    """

    sentence: str
    compares: Compares
    outcome: str
    groups: tuple[str, str]
    measure: str
    sign: int
    controls: tuple[str, ...] = ()
    centred: str = ""
    attacked: bool = True
    title: str = ""

    @property
    def direction(self) -> str:
        """Which group less which, as the effects are turned."""
        first, second = self.groups if self.sign > 0 else self.groups[::-1]
        return f"{first} less {second}"


OBJECT = ("box_area", "box_offset", "box_count")  # size, place and number of the objects
OUTCOMES = ("succeed", "fail")

CLAIMS: Registry[Claim] = Registry(
    "a claim",
    {
        "1": Claim(
            "Images on which the attack succeeds have a lower IoU with the object.",
            *("images", "succeed", OUTCOMES, "iou_att_gt", -1),
            controls=("margin", *OBJECT),
            centred="less_centred",
            title="IoU with the object",
        ),
        "2-confidence": Claim(
            "Images with a low IoU are classified with high confidence.",
            *("images", "low_iou", ("low IoU", "others"), "confidence", 1),
            controls=OBJECT,
            attacked=False,
            title="Confidence in the label",
        ),
        "2-vulnerable": Claim(
            "Images with a low IoU are more vulnerable: the attack succeeds on more of them.",
            *("images", "succeed", OUTCOMES, "low_iou", 1),
            controls=("margin", *OBJECT),
            title="Share of images with a low IoU",
        ),
        "3": Claim(
            "Attention moves more where the attack succeeds: clean and attacked maps overlap less.",
            *("images", "succeed", OUTCOMES, "iou_ori_adv", -1),
            controls=("margin", *OBJECT),
            title="IoU of clean and attacked map",
        ),
        "4": Claim(
            "A defence holds attention: clean and attacked maps of a defended model overlap more.",
            *("models", "defended", ("defended", "undefended"), "iou_ori_adv", 1),
            controls=("succeed",),
            title="IoU of clean and attacked map",
        ),
        "5": Claim(
            "A3 makes an attack stronger: more images are misclassified than under the attack alone.",
            *("attacks", "a3", ("with A3", "without"), "lost", 1),
            title="Share of misclassified images",
        ),
    },
)
