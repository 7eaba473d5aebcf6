"""An evaluation made by hand: two models, four images, three attacks."""

from pathlib import Path

from attnlab.run_opening import open_run
from attnlab.schema import EVALUATION

MODELS = {"plain": {"network": "lenet", "defense": "none"}, "robust": {"network": "lenet", "defense": "madry"}}

#: model, image, label, clean prediction, predictions under pgd10 and pgd10+a3, steps to success of both
IMAGES = [
    ("plain", "a", 0, 0, 1, 1, 1, 2),
    ("plain", "b", 1, 1, 1, 0, 3, 1),  # lost on the way to pgd10's last point, and won again
    ("plain", "c", 2, 2, 2, 2, None, None),
    ("plain", "d", 0, 1, 1, 1, 0, 0),  # wrong from the start
    ("robust", "a", 0, 0, 0, 0, None, None),
    ("robust", "b", 1, 1, 1, 1, None, None),
    ("robust", "c", 2, 2, 0, 0, 4, 4),
    ("robust", "d", 0, 0, 0, 1, None, 9),
]


def rows() -> list[dict]:
    """The images as a run's records hold them."""
    return [
        {
            "image_id": image,
            "model": model,
            "label": label,
            "prediction": clean,
            "margin": 1.0 if clean == label else -1.0,
            "loss": 0.5,
            "attacks": [
                {
                    "attack": attack,
                    "prediction": prediction,
                    "margin": 1.0 if prediction == label else -1.0,
                    "loss": 0.5,
                    "steps_to_success": steps,
                }
                for attack, prediction, steps in (
                    ("clean", clean, None if clean == label else 0),
                    ("pgd10", pgd, pgd_steps),
                    ("pgd10+a3", a3, a3_steps),
                )
            ],
        }
        for model, image, label, clean, pgd, a3, pgd_steps, a3_steps in IMAGES
    ]


def attack(**changes: object) -> dict:
    return {"objective": "cross-entropy", "eps": 0.3, "steps": 10, "step_size": 0.01, "random_start": True,
            "restarts": 1, "sigma": None, "label_smoothing": 0.0} | changes  # fmt: skip


def manifest(**changes: object) -> dict:
    """Of a run of these records."""
    options = {
        "data": "mnist",
        "split": "test",
        "models": MODELS,
        "weights": "default",
        "transfer": None,
        "saved": False,
        "attacks": {"clean": None, "pgd10": attack(), "pgd10+a3": attack(sigma=10.0)},
        "resize": "squash",
        "seed": 0,
        "stop": False,
        "images": 4,
    }
    return {"kind": "evaluate", "options": options | changes, "data": {"name": "mnist"}, "model": {}}


def write(folder: Path, records: list[dict], described: dict) -> Path:
    run = open_run(folder, described, EVALUATION)
    run.write_part(0, records)
    run.finish(1.0)
    return folder
