"""Measures by name: numbers about a map, or two maps, of each image; what computes is imported when it is used."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal

from attnlab.registry import Lazy, Registry, loaded

#: what a measure is about: a map and the object in the image, two maps of an image, one map alone, or a map and what
#: the classifier makes of the image
Family = Literal["object", "pair", "map", "faithfulness"]
#: which values are better: of a pair, `higher` where it says how alike the maps are
Better = Literal["higher", "lower", ""]

ALL = "all"  # every measure that can be taken
DELTAS = (0.3, 0.5, 0.7)  # IoU of boxes from which MaxBoxAccV2 counts an image
THRESHOLDS = 100  # of a map scaled to [0, 1]: 0, 0.01, ..., 0.99


@dataclass(frozen=True)
class Measure:
    """A measure.

    Attributes:
        compute: Function to one number for each image, (N,), or several, (N, values), float64 and NaN where there is
            none. It gets what its parameters name: of the families `object`, `map` and `faithfulness` the signed `maps`
            at the images' size, (N, H, W), and `grids`, the same over the attention layer's grid, (N, h, w), as records
            hold them; of `object` also `masks`, the ground truth, (N, H, W) bool, and `boxes`, a list for each image of
            half-open x0, y0, x1, y1 in pixels; of `pair` the grids `first` and `second`; of `faithfulness` the
            `classifier` in eval mode, the `images`, (N, C, H, W) in [0, 1], the explained `classes`, (N,), and `seeds`
            of each image, `batch_size`, images of a forward pass, and `explain`, a function of images, classes and
            seeds to maps by the same method at the images' size.
        family: What it is about.
        formula: In words or symbols, a line.
        source: Who published it.
        better: Which values are better.
        low: Its lowest value, None for none.
        high: Its highest value.
        chance: Value of a map that knows nothing: a number, a function of a mask, (H, W) bool in numpy, to a number,
            or None where nobody can say; the row of `--method random-map` measures it.
        values: Numbers for each image.
        total: Function of an array (n, values) to the one number of n images, where that is not their mean.
    """

    compute: Callable[..., Any]
    family: Family
    formula: str
    source: str
    better: Better = "higher"
    low: float | None = 0.0
    high: float | None = 1.0
    chance: float | Callable[..., Any] | None = None
    values: int = 1
    total: Callable[..., Any] | None = None

    @property
    def summary(self) -> str:
        """What it is, in a line."""
        words = {"object": "map and object", "pair": "two maps", "map": "one map", "faithfulness": "map and model"}
        better = f"{self.better} is better" if self.better else "neither way is better"
        return f"{words[self.family]}: {self.formula}; {better}; {self.source}"

    def __call__(self, **given: Any) -> Any:
        """Compute it from what is given, of which it takes what it needs: (N, values), float64, on the CPU."""
        code = loaded(self.compute)
        numbers = code(**{name: given[name] for name in signature(code).parameters if name in given})
        return numbers.double().cpu().reshape(len(numbers), self.values)


def _chance(name: str) -> Lazy:
    return Lazy(f"attnlab.measures.chance:{name}")


def _totals(name: str) -> Lazy:
    return Lazy(f"attnlab.measures.totals:{name}")


def _object(name: str) -> Lazy:
    return Lazy(f"attnlab.measures.with_object:{name}")


def _pair(name: str) -> Lazy:
    return Lazy(f"attnlab.measures.between_maps:{name}")


def _faithful(name: str) -> Lazy:
    return Lazy(f"attnlab.measures.faithfulness:{name}")


#: a new measure is a function and a line here
MEASURES = Registry(
    "--measures",
    {
        "iou": Measure(
            Lazy("attnlab.attention.map_metrics:map_mask_iou"),
            "object",
            "IoU of the mask and as many of the highest pixels: r / (2 - r), r being relevance rank accuracy",
            "Arras et al. 2022",
            chance=_chance("iou"),
        ),
        "pointing": Measure(
            _object("pointing"),
            "object",
            "1 where the highest pixel lies within 15 px (of a shorter side of 224) of the mask, else 0",
            "Zhang et al. 2018",
            chance=_chance("pointing"),
        ),
        "mass": Measure(
            _object("mass"),
            "object",
            "sum of the positive values on the mask / sum of all positive values",
            "Wang et al. 2020; Arras et al. 2022",
            chance=_chance("share"),
        ),
        "auc": Measure(
            _object("auc"),
            "object",
            "probability that a pixel of the mask is higher than one beside it, a tie counting one half",
            "Fawcett 2006",
            chance=0.5,
        ),
        "max-box-acc": Measure(
            Lazy("attnlab.measures.localisation:box_ious"),
            "object",
            "highest share over thresholds of images with a box of IoU >= delta, mean over delta .3, .5, .7",
            "Choe et al. 2020 (MaxBoxAccV2)",
            values=THRESHOLDS,
            total=_totals("max_box_acc"),
        ),
        "pxap": Measure(
            Lazy("attnlab.measures.localisation:pixel_counts"),
            "object",
            "area under precision against recall of the pixels of all images, over thresholds",
            "Choe et al. 2020 (PxAP)",
            chance=_chance("share"),
            values=2 * THRESHOLDS,
            total=_totals("pxap"),
        ),
        "top-iou": Measure(
            _pair("top_iou"),
            "pair",
            "IoU of the highest fifth of the cells of both maps",
            "eq. 6 of the paper",
            chance=_chance("top_iou"),
        ),
        "spearman": Measure(
            _pair("spearman"),
            "pair",
            "correlation of the cells' ranks, ties sharing their mean rank",
            "Spearman 1904; Adebayo et al. 2018",
            low=-1.0,
            chance=0.0,
        ),
        "ssim": Measure(
            _pair("ssim"),
            "pair",
            "mean structural similarity of windows of 3 x 3 cells, positive parts scaled to a maximum of 1",
            "Wang et al. 2004",
            low=-1.0,
        ),
        "cosine": Measure(
            _pair("cosine"),
            "pair",
            "cosine of the angle between the positive parts",
            "Salton 1983",
        ),
        "emd": Measure(
            _pair("emd"),
            "pair",
            "least mass x way that makes one positive part of sum 1 the other, ways in shares of the diagonal",
            "Rubner et al. 2000",
            better="lower",
        ),
        "shift": Measure(
            _pair("shift"),
            "pair",
            "way between the positive parts' centres of mass, as a share of the diagonal",
            "the paper's `deviated`",
            better="lower",
        ),
        "entropy": Measure(
            Lazy("attnlab.measures.one_map:entropy"),
            "map",
            "- sum p log p / log n, p being the positive part of n cells with a sum of 1",
            "Shannon 1948; the paper's `scattered`",
            better="",
        ),
        "components": Measure(
            Lazy("attnlab.measures.one_map:components"),
            "map",
            "number of 8-connected parts of the cells that reach the mean of the positive part (eq. 3)",
            "the paper's `scattered`",
            better="",
            low=1.0,
            high=None,
        ),
        "components-half": Measure(
            Lazy("attnlab.measures.one_map:components_half"),
            "map",
            "number of 8-connected parts of the cells that reach half the maximum",
            "the paper's `scattered`",
            better="",
            low=1.0,
            high=None,
        ),
        "insertion": Measure(
            _faithful("insertion"),
            "faithfulness",
            "area under the probability while the highest pixels appear first on the blurred image, in 28 steps",
            "Petsiuk et al. 2018",
        ),
        "deletion": Measure(
            _faithful("deletion"),
            "faithfulness",
            "area under the probability while the highest pixels become grey first, in 28 steps",
            "Petsiuk et al. 2018",
            better="lower",
        ),
        "road": Measure(
            Lazy("attnlab.measures.road:road"),
            "faithfulness",
            "(p without the least - p without the most relevant pixels) / 2, filled in, mean of 20, 40, 60, 80% kept",
            "Rong et al. 2022",
            low=-1.0,
            chance=0.0,
        ),
        "average-drop": Measure(
            _faithful("average_drop"),
            "faithfulness",
            "max(0, p(x) - p(m x)) / p(x), m being the positive part scaled to a maximum of 1",
            "Chattopadhay et al. 2018",
            better="lower",
        ),
        "increase": Measure(
            _faithful("increase"),
            "faithfulness",
            "1 where p(m x) > p(x), m being the positive part scaled to a maximum of 1, else 0",
            "Chattopadhay et al. 2018",
        ),
        "infidelity": Measure(
            Lazy("attnlab.measures.perturbed:infidelity"),
            "faithfulness",
            "E (beta sum of the map on a square - fall of p when it is grey)^2, 50 squares, beta the best scale",
            "Yeh et al. 2019",
            better="lower",
        ),
        "max-sensitivity": Measure(
            Lazy("attnlab.measures.perturbed:max_sensitivity"),
            "faithfulness",
            "largest |g(x') - g(x)| / |g(x)| of 10 images x' whose pixels differ by at most .02",
            "Yeh et al. 2019",
            better="lower",
            high=None,
        ),
    },
)


def of_one(names: Iterable[str]) -> list[str]:
    """Those of the measures that are about one map: `measures` in the records, in this order."""
    return [name for name in names if MEASURES[name].family != "pair"]


def of_two(names: Iterable[str]) -> list[str]:
    """Those of the measures that are about the clean and the attacked map: `pair_measures` in the records."""
    return [name for name in names if MEASURES[name].family == "pair"]
