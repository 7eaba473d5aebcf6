"""What an analysis computes."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from attnlab.attacks import ATTACKS, Attack
from attnlab.attention import CLASSES, METHODS, map_methods
from attnlab.attention.lime import LimeSettings
from attnlab.data.geometry import GEOMETRIES
from attnlab.errors import UserError, expect_one_of
from attnlab.seeds import expect_seed

SEGMENTS = ("own", "shared")


@dataclass(frozen=True)
class Settings:
    """What is computed for each image.

    Attributes:
        methods: Names in METHODS, at most one of them among `map_methods`: a record has room for one map.
        attack: The attack; its own eps is replaced by each of `budgets`.
        budgets: L-infinity budgets eps, pixels in [0, 1]; all share the clean pass.
        target: Class the maps explain: the `true` label, or each image's own `predicted` class; empty for the
            method's own.
        geometry: How images reach the model's size, a name in GEOMETRIES.
        seed: Of everything random, together with the image's name.
        lime: What a LIME explanation is made of.
        lime_segments: Adversarial images are cut on their `own`, or `shared` the clean image's superpixels.
        lime_floor: Explain each clean image a second time from another seed: the noise floor of Tables 4 and 5.
    """

    methods: tuple[str, ...] = ("grad-cam",)
    attack: Attack = field(default_factory=lambda: ATTACKS["stepll"])
    budgets: tuple[float, ...] = (16 / 255,)
    target: str = ""
    geometry: str = "squash"
    seed: int = 0
    lime: LimeSettings = field(default_factory=LimeSettings)
    lime_segments: str = "own"
    lime_floor: bool = True

    def __post_init__(self) -> None:
        """Check every value once."""
        expect_seed(self.seed)
        for method in self.methods:
            METHODS.expect(method)
        if self.target:
            expect_one_of(self.target, CLASSES, "--target")
        expect_one_of(self.geometry, GEOMETRIES, "--geometry")
        expect_one_of(self.lime_segments, SEGMENTS, "--lime-segments")
        if not self.methods:
            raise UserError(f"expected --method to name one or more of {', '.join(METHODS)}")
        maps = [method for method in self.methods if method in map_methods()]
        if len(maps) > 1:
            raise UserError(f"expected one --method of {', '.join(map_methods())} a run, got {', '.join(maps)}")
        if not self.budgets or len(set(self.budgets)) < len(self.budgets):
            raise UserError(f"expected one or more eps, each once, got {', '.join(map(str, self.budgets)) or 'none'}")
        for eps in self.budgets:
            replace(self.attack, eps=eps)

    @property
    def map_method(self) -> str | None:
        """The method whose maps Tables 1-3 are about, if there is one."""
        return next((method for method in self.methods if method in map_methods()), None)

    def target_of(self, method: str) -> str:
        """Class that a method's maps explain."""
        return self.target or METHODS[method].target

    def describe(self) -> dict[str, Any]:
        """What decides the results, for the manifest."""
        attack = {key: value for key, value in asdict(self.attack).items() if key != "eps"}
        described: dict[str, Any] = {
            "methods": list(self.methods),
            "attack": attack,
            "eps": list(self.budgets),
            "target": {method: self.target_of(method) for method in self.methods},
            "geometry": self.geometry,
        }
        if self.attack.random_start:
            described["seed"] = self.seed
        if "lime" in self.methods:
            described["lime"] = asdict(self.lime)
            features = described["lime"].pop("features")
            if self.lime.patience:  # else they decide the tables alone, not the records
                described["lime"]["features"] = list(features)
            described |= {"seed": self.seed, "lime_segments": self.lime_segments, "lime_floor": self.lime_floor}
        return described
