"""What an evaluation does to each image."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from attnlab.attacks import Attack, OtherAttack
from attnlab.data import GEOMETRIES
from attnlab.errors import UserError
from attnlab.seeds import expect_seed


@dataclass(frozen=True)
class Evaluation:
    """What is done to each image.

    Attributes:
        attacks: Name -> settings; None for `clean`, and for what a strike of its own fills in.
        geometry: How images reach the model's size, a name in GEOMETRIES.
        seed: Of random starts, together with the image's name.
        stop: An image leaves an attack at the first point that is misclassified.
    """

    attacks: Mapping[str, Attack | OtherAttack | None]
    geometry: str = "squash"
    seed: int = 0
    stop: bool = False

    def __post_init__(self) -> None:
        """Check every value once."""
        expect_seed(self.seed)
        GEOMETRIES.expect(self.geometry)
        if not self.attacks:
            raise UserError("expected --attacks to name one or more, got none")

    def describe(self) -> dict[str, Any]:
        """What decides the results, for the manifest."""
        attacks = {name: None if attack is None else asdict(attack) for name, attack in self.attacks.items()}
        return {"attacks": attacks, "geometry": self.geometry, "seed": self.seed, "stop": self.stop}
