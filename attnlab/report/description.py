"""A run in words, from its manifest: what captions of tables and figures and the header of a page say of it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attnlab.words import as_fraction, counted

Manifest = Mapping[str, Any]
Options = Mapping[str, Any]


def with_names(manifest: Manifest) -> dict[str, Any]:
    """The manifest with names under "options" also where a call from Python gave none."""
    options = manifest["options"]
    names: dict[str, Any] = {"data": manifest["data"].get("name", "data"), "split": "", "weights": ""}
    if manifest["kind"] == "evaluate":
        known = options.get("order", [name for name in manifest["model"] if name != "transfer"])
        names["models"] = {name: {"network": name, "defense": "none"} for name in known}
        names |= {"transfer": "another model" if "transfer" in manifest["model"] else None, "stop": False}
    else:
        names |= {"model": f"model {manifest['model'].get('sha256', '')[:8]}".strip()}
        names |= {"attack_name": options["attack"].get("objective", "attack")}
    return {**manifest, "options": {**names, **options}}


def map_method(options: Options) -> str | None:
    """The method whose maps the records of an analysis hold; None if there are none."""
    return next((method for method in options["methods"] if method != "lime"), None)


def falls_short(attack: Mapping[str, Any], eps: float) -> bool:
    """Whether an attack, as a manifest describes it, cannot move any pixel from its start as far as eps allows."""
    length = attack.get("step_size")  # attacks outside the loop have none
    return length is not None and attack["steps"] * length < eps * (1 - 1e-6)


# ------------------------------------------------------------------ parts, each the same words everywhere


def title(manifest: Manifest) -> str:
    """The models and the data, for the head of a page."""
    options = manifest["options"]
    part = f" ({options['split']})" if options["split"] else ""
    return f"{', '.join(models_of(options))} on {options['data']}{part}"


def data_of(options: Options) -> str:
    """Name and split of the data."""
    return f"{options['data']} {options['split']}".strip()


def models_of(options: Options) -> list[str]:
    """Names of the run's models; the model of an analysis without the folders it lies in."""
    return list(options.get("models") or [Path(str(options["model"])).name])


def eps_of(budgets: Iterable[float]) -> str:
    """Every eps as a fraction of 255 where it is one: `4/255, 16/255`."""
    return ", ".join(map(as_fraction, budgets))


def cells_of(manifest: Manifest) -> str:
    """Height and width of the maps: `8 x 8`."""
    return " x ".join(map(str, manifest["model"]["map_shape"]))


def strength_of(attack: Mapping[str, Any]) -> list[str]:
    """What an attack is made of beside its name and eps, where that is not as its name says."""
    steps, length = attack["steps"], attack["step_size"]
    of_length = f" of {as_fraction(length)}" if length is not None else ""
    return [
        *([counted(steps, "step") + of_length] if steps > 1 or length is not None else []),
        *([f"{attack['restarts']} random starts"] if attack["restarts"] > 1 else []),
        *([f"sigma {attack['sigma']:g}"] if attack["sigma"] is not None else []),
        *([f"label smoothing {attack['label_smoothing']:g}"] if attack["label_smoothing"] else []),
    ]


def lime_of(lime: Mapping[str, Any]) -> str:
    """Superpixels, samples and filling of LIME, by a manifest's `lime`."""
    samples = f"at most {lime['samples']}" if lime["patience"] else lime["samples"]
    return f"{lime['superpixels']}, {samples} samples, hidden {lime['hide']}"


def precision_of(options: Options) -> list[str]:
    """The precision, where it is not float32; older runs name none."""
    precision = options.get("precision", "fp32")
    return [precision] if precision != "fp32" else []


# ------------------------------------------------------------------ whole captions


def subject(manifest: Manifest, eps: float | None = None) -> str:
    """Model, data and attack of an analysis, for the caption of a figure; of one eps, or of all."""
    options = manifest["options"]
    budgets = options["eps"] if eps is None else [eps]
    return f"{models_of(options)[0]}, {data_of(options)}, {options['attack_name']}, ε = {eps_of(budgets)}"


def analysis_setting(manifest: Manifest, images: int, *, lime: bool, note: str = "") -> str:
    """What the numbers of an analysis depend on, for the caption of a table.

    Args:
        manifest: With names.
        images: Number of images the table is about.
        lime: The table is of LIME explanations and not of maps.
        note: What else this table depends on.
    """
    options = manifest["options"]
    method = "lime" if lime else map_method(options) or ""
    notes = [note] if note else []
    of_method = f"{method} maps of the {options['target'][method]} class"
    details = [options["attack_name"], f"eps {eps_of(options['eps'])}", *strength_of(options["attack"]), of_method]
    details += [] if lime else notes
    details += [f"resize {options['resize']}", *precision_of(options)]
    details += [lime_of(options["lime"]), *notes] if lime else []
    about = f"{models_of(options)[0]}, {data_of(options)}, n = {counted(images, 'correctly classified image')}"
    return f"{about}; {', '.join(details)}; brackets: 95 % bootstrap interval"


def evaluation_setting(manifest: Manifest, note: str = "") -> str:
    """What the numbers of an evaluation depend on, for the caption of a table; arguments as of `analysis_setting`."""
    options = manifest["options"]
    attacks = [attack for attack in options["attacks"].values() if attack]
    loops = loops_of(options)
    budgets = sorted({attack["eps"] for attack in attacks})
    lengths = sorted({attack["step_size"] for attack in loops if attack["step_size"] is not None})
    restarts = max((attack["restarts"] for attack in loops), default=1)
    return "; ".join(
        [
            f"{data_of(options)}, {counted(options['images'], 'image')}",
            *([f"L-infinity eps {eps_of(budgets)}"] if budgets else []),
            *([f"steps of {eps_of(lengths)}"] if lengths else []),
            *([note] if note else []),
            *([f"{restarts} random starts"] if restarts > 1 else []),
            *precision_of(options),
            *([f"adversarial images made on {options['transfer']}"] if options["transfer"] else []),
            *(["an image leaves the attack at the first point that is misclassified"] if options["stop"] else []),
        ]
    )


def loops_of(options: Options) -> list[Mapping[str, Any]]:
    """The attacks of an evaluation that are made of steps, as its manifest describes them."""
    return [attack for attack in options["attacks"].values() if attack and "steps" in attack]


def steps_and_sigmas(options: Options) -> str:
    """Numbers of steps and weights of the attention term of an evaluation's attacks."""
    loops = loops_of(options)
    steps = sorted({attack["steps"] for attack in loops})
    sigmas = sorted({attack["sigma"] for attack in loops if attack["sigma"] is not None})
    return f"{', '.join(map(str, steps))} steps, sigma {', '.join(f'{sigma:g}' for sigma in sigmas)}"
