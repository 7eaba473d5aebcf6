"""A run in words, from its manifest: what captions of tables and figures and the header of a page say of it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attnlab.attention import METHODS
from attnlab.kept_maps import grid_of
from attnlab.manifests import FORMER_STAGES, map_methods
from attnlab.recorded_attacks import is_targeted, norm_of, where_of
from attnlab.report.attack_words import eps_of, in_region, strength_of
from attnlab.report.outcomes import CHANGED, KEPT, REACHED, Outcomes
from attnlab.words import counted, in_norm, listed, model_title

if TYPE_CHECKING:
    pass

Manifest = Mapping[str, Any]
Options = Mapping[str, Any]

MOVES = "move-map"  # objective of attacks that move maps and hold the prediction


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


def class_names(manifest: Manifest, model: str | None = None) -> list[str]:
    """Class names of an analysis, or of a model of an evaluation: the data's, and of the logits behind those."""
    names = list(manifest["data"].get("classes", []))
    known = manifest.get("model", {})
    described = known if model is None else known.get(model, {})
    return names + list(described.get("labels", [])[len(names) :])


def maps_of(options: Options, methods: Sequence[str]) -> str:
    """Methods, and the class that their maps explain, in words: `grad-cam and layer-cam maps of the true class`."""
    abouts: dict[str, list[str]] = {}
    for method in methods:
        abouts.setdefault(_about(method, f"the {options['target'][method]} class"), []).append(method)
    return ", ".join(f"{listed(names)} {about}" for about, names in abouts.items())


def _about(method: str, explained: str) -> str:
    """What maps of a method are about, in words; one that attnlab does not know, as of captum, explains a class."""
    known = METHODS.get(method)
    return f"maps of {explained}" if known is None or known.of_class else "maps, the same for every class"


def title(manifest: Manifest) -> str:
    """The models and the data, for the head of a page."""
    options = manifest["options"]
    part = f" ({options['split']})" if options["split"] else ""
    return f"{', '.join(models_of(options))} on {options['data']}{part}"


def predicted_labels(manifest: Manifest) -> str:
    """What stands for the labels of images that have none, in words; empty where they have some."""
    unlabelled = manifest["data"].get("labels") == "predicted"
    return "without labels: predictions of clean images stand for them" if unlabelled else ""


def data_of(options: Options) -> str:
    """Name and split of the data."""
    return f"{options['data']} {options['split']}".strip()


def models_of(options: Options) -> list[str]:
    """Names of the run's models; the model of an analysis without the folders it lies in."""
    return list(options.get("models") or [model_title(str(options["model"]))])


def cells_of(model: Mapping[str, Any]) -> str:
    """Height and width of the grid of a model's maps: `8 x 8`."""
    return " x ".join(map(str, grid_of(model["map_shape"])))


def subject(manifest: Manifest, eps: float | None = None) -> str:
    """Model, data and attack of an analysis, for the caption of a figure; of one eps, or of all.

    Of a run of several methods that map also the one that the figure is about, see `about_method`.
    """
    options = manifest["options"]
    budget = in_norm(eps_of(options["eps"] if eps is None else [eps]), norm_of(options.get("attack", {})))
    method = f", maps of {manifest['about_method']}" if "about_method" in manifest else ""
    attacked = options.get("attack", {})
    attack = " ".join(filter(None, (options["attack_name"], towards(attacked, manifest), where_of(attacked))))
    return f"{models_of(options)[0]}, {data_of(options)}, {attack}, ε = {budget}{method}"


def about_method(manifest: Manifest, method: str) -> Manifest:
    """The manifest for what is about one method of those that map; as it is where the run has but one."""
    return {**manifest, "about_method": method} if len(map_methods(manifest)) > 1 else manifest


def shown_method(manifest: Manifest) -> str:
    """The method that a manifest is about, by default the first that maps; empty where there is none."""
    return str(manifest.get("about_method", next(iter(map_methods(manifest)), "")))


def analysis_setting(manifest: Manifest, images: int, methods: Sequence[str], note: str = "") -> str:
    """Setting of an analysis, for the caption of a table about so many images.

    `methods` are those the table is about; `note` is what else it depends on.
    """
    options, attack = manifest["options"], manifest["options"]["attack"]
    of_lime = [*methods] == ["lime"]
    details = [
        *strength_of(options),
        towards(attack, manifest),
        in_region(attack),
        on_maps(attack),
        maps_of(options, methods),
        "" if of_lime else note,
        f"resize {options['resize']}",
        _precision(options),
    ]
    if "lime" in methods:
        settings = options["lime"]
        samples = f"at most {settings['samples']}" if settings["patience"] else settings["samples"]
        drawn = f"{samples} {options['lime_sampling']}" if "lime_sampling" in options else samples
        details += [f"{settings['superpixels']}, {drawn} samples, hidden {settings['hide']}", note if of_lime else ""]
        details += ["weights of a surrogate"] if options.get("lime_fit") == "surrogate" else []
        details += ["by the lime package"] if options.get("lime_engine") == "lime" else []
    unlabelled = predicted_labels(manifest)
    noun = "image" if unlabelled else "correctly classified image"
    about = f"{models_of(options)[0]}, {data_of(options)}, n = {counted(images, noun)}"
    about += f", {unlabelled}" if unlabelled else ""
    return f"{about}; {', '.join(filter(None, details))}; brackets: 95 % bootstrap interval"


def study_setting(manifest: Manifest) -> str:
    """Setting of a run of either kind, in a line."""
    options = manifest["options"]
    if manifest["kind"] == "evaluate":
        return f"{', '.join(models_of(options))}; {evaluation_setting(manifest)}"
    attack = options["attack"]
    details = [
        f"{models_of(options)[0]}, {data_of(options)}, {counted(options['images'], 'image')}",
        ", ".join(strength_of(options)[:2]),
        towards(attack, manifest),
        in_region(attack),
        on_maps(attack),
        f"resize {options['resize']}",
        f"defence {manifest['defense']}" if "defense" in manifest else "",
        predicted_labels(manifest),
        _precision(options),
    ]
    return "; ".join(filter(None, details))


def evaluation_setting(manifest: Manifest, note: str = "") -> str:
    """Setting of an evaluation, for the caption of a table; `note` as of `analysis_setting`."""
    options = manifest["options"]
    loops = loops_of(options)
    norms = dict.fromkeys(norm_of(attack) for attack in options["attacks"].values() if attack and "eps" in attack)
    budgets = [_budgets_in(norm, options) for norm in norms]
    lengths = sorted({attack["step_size"] for attack in loops if attack["step_size"] is not None})
    restarts = max((attack["restarts"] for attack in loops), default=1)
    after = "its target" if any(map(is_targeted, loops)) else "misclassified"
    details = [
        f"{data_of(options)}, {counted(options['images'], 'image')}",
        predicted_labels(manifest),
        *budgets,
        f"steps of {eps_of(lengths)}" if lengths else "",
        note,
        *dict.fromkeys(towards(attack, manifest) for attack in loops),
        f"{restarts} random starts" if restarts > 1 else "",
        *dict.fromkeys(map(in_region, loops)),
        *_suites(options),
        _precision(options),
        f"adversarial images made on {options['transfer']}" if options["transfer"] else "",
        f"an image leaves the attack at the first point that is {after}" if options["stop"] else "",
    ]
    return "; ".join(filter(None, details))


def _budgets_in(norm: str, options: Options) -> str:
    """Every eps of an evaluation's attacks in a norm: `L-infinity eps 4/255, 8/255`."""
    attacks = (attack for attack in options["attacks"].values() if attack and "eps" in attack)
    attacks = (attack for attack in attacks if norm_of(attack) == norm)
    title = "L-infinity" if norm == "linf" else norm.upper()
    return f"{title} eps {eps_of(sorted({attack['eps'] for attack in attacks}))}"


def _precision(options: Options) -> str:
    """The precision, where it is not float32; older runs name none."""
    precision = str(options.get("precision", "fp32"))
    return "" if precision == "fp32" else precision


def _suites(options: Options) -> list[str]:
    """What is in each suite of an evaluation: runs of before FAB-T was have a shorter one."""
    others = {name: attack for name, attack in options["attacks"].items() if attack and "method" in attack}
    stages = {name: attack.get("stages", FORMER_STAGES.get(attack["method"])) for name, attack in others.items()}
    return [f"{name}: {listed([*its])}" for name, its in stages.items() if its]


def loops_of(options: Options) -> list[Mapping[str, Any]]:
    """The attacks of an evaluation that are made of steps, as its manifest describes them."""
    return [attack for attack in options["attacks"].values() if attack and "steps" in attack]


def holds_prediction(attack: Mapping[str, Any]) -> bool:
    """Whether an attack, as a manifest describes it, is to move maps and leave predictions as they are."""
    return bool(attack.get("distance")) and attack.get("objective") == MOVES


def outcomes_of(manifest: Manifest) -> Outcomes:
    """What the outcomes of an analysis' attack are called."""
    attack = manifest["options"].get("attack")
    if is_targeted(attack):
        return REACHED
    return KEPT if attack and holds_prediction(attack) else CHANGED


def map_attacks_of(options: Options) -> dict[str, dict[str, str]]:
    """What each attack on maps of an evaluation `holds`, and its `distance`, by its name."""
    return {
        name: {"holds": "prediction" if holds_prediction(attack) else "map", "distance": attack["distance"]}
        for name, attack in options["attacks"].items()
        if attack and attack.get("distance")
    }


def gaze_setting(options: Options) -> str:
    """What the attacks on maps of an evaluation are about, each kind of setting once."""
    loops = [attack for attack in loops_of(options) if attack.get("distance")]
    return "; ".join(dict.fromkeys(filter(None, map(on_maps, loops))))


def on_maps(attack: Mapping[str, Any]) -> str:
    """What an attack on maps is about, as a manifest describes it; empty for one on the prediction."""
    if not attack.get("distance"):
        return ""
    moves = holds_prediction(attack)
    verb = "moves" if moves else "holds"
    details = [
        f"{verb} {attack['method']} {_about(attack['method'], 'the clean prediction')}, {attack['distance']} distance",
        f"prediction held with a margin of {attack['keep']:g}" if moves else "",
        f"gradients by softplus of {attack['softplus']:g}" if attack["softplus"] is not None else "",
    ]
    return ", ".join(filter(None, details))


def aim_of(attack: Mapping[str, Any], manifest: Manifest) -> str:
    """The class that a targeted attack, as a manifest describes it, moves images to; empty for another one."""
    target = attack.get("target")
    if target is None:
        return ""
    if not isinstance(target, int):
        return f"{target} on the clean image"
    name = dict(enumerate(class_names(manifest))).get(target, str(target))
    return f"class {target}" + (f" ({name})" if name != str(target) else "")


def towards(attack: Mapping[str, Any], manifest: Manifest) -> str:
    """The same, in a caption."""
    aim = aim_of(attack, manifest)
    return aim and f"towards {aim}"


def steps_and_sigmas(options: Options) -> str:
    """Numbers of steps and weights of the attention term of an evaluation's attacks."""
    loops = loops_of(options)
    steps = sorted({attack["steps"] for attack in loops})
    sigmas = sorted({attack["sigma"] for attack in loops if attack["sigma"] is not None})
    return f"{', '.join(map(str, steps))} steps, sigma {', '.join(f'{sigma:g}' for sigma in sigmas)}"
