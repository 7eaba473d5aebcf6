"""Checks of what a user named: where data meets a model, and a model an option or an attack."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping

import torch

from attnlab.arrays import Images, Labels, Logits, Maps
from attnlab.attacks import CLEAN, Attack
from attnlab.attacks.corruptions import Corruption, photographs
from attnlab.attacks.others import OTHER_ATTACKS, Attacks, OtherAttack
from attnlab.attacks.output_checks import has_gradient
from attnlab.attention import METHODS
from attnlab.data.base import UNLABELLED, ImageSet, check_unique
from attnlab.data.grey_and_colour import with_channels
from attnlab.data.regions import WHERE
from attnlab.data.resizing import Batch
from attnlab.errors import UserError, check_between
from attnlab.failures import naming
from attnlab.hooks import frozen_eval
from attnlab.models import Classifier
from attnlab.models.class_order import order_by_name
from attnlab.runs import Run
from attnlab.seeding import seed_of
from attnlab.words import counted, none_usable

#: images or LIME samples a pass, and processes, beyond which no machine goes
LARGEST_BATCH, MOST_WORKERS = 65_536, 1_024
#: an attack to propose where there are no gradients
BLACK_BOX = next(name for name, attack in OTHER_ATTACKS.items() if not attack.gradient)
Threat = Attack | OtherAttack | Corruption
NO_GRADIENT = "no gradient by its images (a torch.no_grad or a detach in its forward?)"  # of a model


def fitted(classifier: Classifier, images: ImageSet, name: str = "") -> Classifier:
    """The classifier with its logits in the order of a data set's classes, matched by name where both name them.

    A note says what was matched. An image set with `closed = True` restricts the logits to its classes; its `out_of`
    is the longer list that its classes are of, which a network of as many classes without labels has in that order.

    Raises:
        UserError: If the model takes other images, does not know the classes, or two images share an id.
    """
    check_unique(images.image_ids, images.name)
    which, option = f"{name}, " if name else "", name if name.startswith("--") else "--model"
    pairs = {"channel": (images.channels, classifier.channels)}
    count, known, out_of = len(images.classes), classifier.classes, getattr(images, "out_of", ())
    labels = classifier.labels or (out_of if len(out_of) == known != count else ())
    if count and not (labels and count < known):
        pairs["class"] = (count, known)
    for noun, (wanted, got) in pairs.items():
        if wanted != got:
            shown = {1: "in grey", 3: "in colour"}.get(got, "") if noun == "channel" and wanted in (1, 3) else ""
            hint = f", or show it the images {shown} with --channels {got}" if shown and option == "--model" else ""
            raise UserError(
                f"expected a model of {counted(wanted, noun)} for {images.name}, got {which}one of {got}; name another "
                f"with {option}{hint}"
            )
    if not (count and labels):
        return classifier
    try:
        order = order_by_name(images.classes, labels, closed=getattr(images, "closed", False), out_of=out_of)
    except UserError as error:
        expected = f"expected a model that knows the {counted(count, 'class')} of {images.name}"
        raise UserError(f"{expected}, got {which}one of {known}: {error}") from None
    if order.note:
        warnings.warn(f"{name}: {order.note}" if name else order.note, stacklevel=2)
    return classifier.in_order(order.indices) if order.indices else classifier


def seen_by(images: ImageSet, *classifiers: Classifier) -> ImageSet:
    """Grey images in colour, or colour ones in grey, where --channels says that a model takes them so."""
    stated = (classifier.stated.get("channels") for classifier in classifiers)
    return with_channels(images, next(filter(None, stated), None))


def check_trainable(classifier: Classifier) -> None:
    """Check that a step of training can move a model: it has weights to train, and outputs with a gradient by them."""
    if not any(parameter.requires_grad for parameter in classifier.parameters()):
        raise UserError("expected a network with weights to train, got one that has none or whose weights are frozen")
    image = torch.full((2, classifier.channels, *classifier.input_size), 0.5, device=classifier.device)
    with torch.random.fork_rng([image.device] if image.device.type == "cuda" else []), naming("a grey image"):
        if not classifier(image).requires_grad:
            raise UserError(
                "expected outputs with a gradient by the network's weights, got none (a torch.no_grad or a detach in "
                "its forward?): there is nothing to train with"
            )


def check_attackable(classifier: Classifier) -> None:
    """Check that an analysis can attack a model: each of its attacks climbs a gradient, whatever its maps need."""
    with naming("a grey image"):
        if has_gradient(classifier):
            return
    raise UserError(
        f"the model's outputs have {NO_GRADIENT}, which every attack of `attnlab analyze` climbs; all tables, LIME's "
        "too, are about images before and after an attack, so nothing is left to do; `attnlab evaluate --attacks "
        f"clean,{BLACK_BOX}` needs none"
    )


def check_compilable(classifier: Classifier) -> None:
    """Refuse compiled passes on a CPU, before anything is computed."""
    if classifier.device.type == "cpu":
        raise UserError(
            "expected --lime-compile on a GPU, got the CPU: a ReLU that is compiled there makes 0 of NaN, so that "
            "nobody would learn of images for which the model gives NaN; do without it in another --out: passes on a "
            "CPU are nearly as fast"
        )


def check_corruptions(attacks: Iterable[Threat | None]) -> None:
    """Refuse frost without its photographs, before anything is computed."""
    if any(isinstance(attack, Corruption) and attack.corruption == "frost" for attack in attacks):
        photographs.folder()


def check_map_attacks(attacks: Iterable[Threat | None], *classifiers: Classifier | None) -> None:
    """Refuse networks that do not allow the method of an attack on maps, before anything is computed."""
    for attack in attacks:
        if isinstance(attack, Attack) and attack.distance is not None:
            for classifier in filter(None, classifiers):
                METHODS[attack.method].check(classifier)


def check_regions(attacks: Iterable[Threat | None], images: ImageSet) -> str:
    """Where the attacks may change the images, a name in WHERE; an image without that region is skipped by all.

    Raises:
        UserError: If the images come without ground truth, or attacks that are ready differ in it.
    """
    regions = dict.fromkeys(attack.where for attack in attacks if isinstance(attack, Attack))
    if len(regions) > 1:
        raise UserError(f"expected one --where for all attacks of a run, got {', '.join(regions)}")
    where = next(iter(regions), WHERE[0])
    if where != WHERE[0] and not images.has_boxes:
        raise UserError(
            f"expected data with boxes or masks for --where {where}, got {images.name}, which have none; --where "
            f"{WHERE[0]} needs none"
        )
    return where


def runnable_attacks(name: str, source: Classifier, attacks: Attacks) -> Attacks:
    """The attacks as they are, or where `source`, whose gradients are climbed, has none, those alone that climb none.

    Raises:
        UserError: If nothing is left.
    """
    climbing = [attack for attack, made in attacks.items() if made is not None and made.uses_gradient]
    if not climbing:
        return attacks
    with naming(f"a grey image ({name})"):
        if has_gradient(source):
            return attacks
    reason = f"the outputs of {name} have {NO_GRADIENT}"
    left = {attack: made for attack, made in attacks.items() if attack not in climbing}
    if not left:
        raise UserError(f"{reason}, which {', '.join(climbing)} climb; --attacks {CLEAN},{BLACK_BOX} needs none")
    hint = "" if BLACK_BOX in left else f"; {BLACK_BOX} needs none"
    warnings.warn(f"{reason}: left out {', '.join(climbing)}, which climb it{hint}", stacklevel=2)
    return left


def check_passes(batch_size: int, workers: int, lime_batch_size: int = 1, map_batch_size: int = 1) -> None:
    """Check how a run is divided."""
    check_between(batch_size, 1, LARGEST_BATCH, "--batch-size")
    check_between(lime_batch_size, 1, LARGEST_BATCH, "--lime-batch-size")
    check_between(map_batch_size, 1, LARGEST_BATCH, "--map-batch-size")
    check_between(workers, 0, MOST_WORKERS, "--workers")


def check_usable(run: Run) -> None:
    """Refuse a run none of whose images could be used, where every number would be of nothing; give the main reason."""
    by_image: dict[str, str] = {}  # several models see each image
    for part in run.parts(["image_id", "skipped"]):
        if part["skipped"].null_count:
            return
        by_image |= zip(part["image_id"].to_pylist(), part["skipped"].to_pylist(), strict=True)
    (reason, count), *_ = Counter(by_image.values()).most_common(1) or [("there are none", 0)]
    which = "" if count == len(by_image) else f", {count} of them"
    listed = f"{run.folder / 'skipped.csv'} names {'it' if len(by_image) == 1 else 'them'}"
    raise UserError(f"{none_usable(len(by_image), 'image')}{which}: {reason}; {listed}")


def checked_inputs(classifier: Classifier, batch: Batch, seed: int) -> tuple[Images, Labels, list[int]]:
    """A batch's images and labels, all of which the classifier knows, on its device, and each image's seed.

    The classifier's own prediction stands for a label that is UNLABELLED.
    """
    for image_id, label in zip(batch.image_ids, batch.labels.tolist(), strict=True):
        if not 0 <= label < classifier.classes and label != UNLABELLED:
            raise UserError(f"expected labels from 0 to {classifier.classes - 1}, got {label} for image {image_id}")
    images, labels = batch.tensors(classifier.device)
    if (unlabelled := labels == UNLABELLED).any():
        with naming("images", batch.image_ids), frozen_eval(classifier), torch.no_grad():
            labels = torch.where(unlabelled, classifier(images).argmax(1), labels)
    return images, labels, [seed_of(seed, image_id) for image_id in batch.image_ids]


def check_finite(logits: Logits, batch: Batch) -> None:
    """Refuse a model that gives NaN or infinity for an image."""
    finite = logits.isfinite().all(1).tolist()
    if not all(finite):
        raise UserError(f"the model gave logits that are not finite for image {batch.image_ids[finite.index(False)]}")


def check_finite_maps(maps: Mapping[str, Maps], batch: Batch) -> None:
    """Refuse a map that holds NaN or infinity, whose ranks would mean nothing."""
    for method, values in maps.items():
        finite = values.isfinite().flatten(1).all(1).tolist()
        if not all(finite):
            name = batch.image_ids[finite.index(False)]
            raise UserError(f"{method} gave a map that is not finite for image {name}; leave it out of --method")


def class_names(images: ImageSet, models: Mapping[str, Classifier]) -> dict[str, tuple[list[str], int]]:
    """Of each model, fitted to the images, the names of its classes by their index, and how many there are."""
    names = list(images.classes)
    return {model: (names + list(one.labels[len(names) :]), one.classes) for model, one in models.items()}


def own_target(labels: Labels, logits: Logits, targets: Labels | None, whose: str) -> list[str | None]:
    """Why images are left out of a targeted attack, each: its target is their label, or the clean image's prediction.

    None for others, and without targets for all; `whose` prediction it is, in words.
    """
    if targets is None:
        return [None] * len(labels)
    triples = zip(targets.tolist(), labels.tolist(), logits.argmax(1).tolist(), strict=True)
    return [
        f"the attack's target, class {target}, is its label"
        if target == label
        else f"the attack's target, class {target}, is {whose} prediction of the clean image"
        if target == prediction
        else None
        for target, label, prediction in triples
    ]
