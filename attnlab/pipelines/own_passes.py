"""Passes that LIME and attention methods make of their own: how many images each has, how long they take together."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch

from attnlab.attention import METHODS
from attnlab.attention.gradcam import capture_activations
from attnlab.config import AnalyzeConfig
from attnlab.config.analyze import AUTO
from attnlab.data.resizing import read_batch
from attnlab.hooks import frozen_eval
from attnlab.manifests import recorded
from attnlab.measures.perturbed import NEAR
from attnlab.measures.sanity import STAGES
from attnlab.models.classifier import Classifier
from attnlab.pipelines import hardware
from attnlab.pipelines.job import Job
from attnlab.pipelines.lime_stage import lime_settings
from attnlab.pipelines.random_weights import SAMPLE
from attnlab.superpixels import method_for, superpixels
from attnlab.words import counted

Analysis = TypeVar("Analysis", bound=Job[AnalyzeConfig])
TRIED = 2  # images that are cut for the estimate of what LIME takes
WORTH_TRYING = 10_000  # passes of a run's methods from which it pays to try how many images of a pass are fastest
LIME_BYTES = 4_000  # bytes of an explanation in the records, at 299 px: compressed superpixels and weights


def settle_passes(analysis: Analysis, classifier: Classifier) -> Analysis:
    """The analysis with the images of LIME's and the methods' own passes, and a line of what each takes.

    A run that is resumed keeps its own, so that its last digits do not depend on the interruption; then nothing is
    tried, and the line left out.
    """
    lines = []
    for settle, needed in ((_settle_maps, analysis.config.own_methods), (_settle_lime, analysis.config.with_lime)):
        if needed:
            config, line = settle(analysis, classifier)
            analysis = replace(analysis, config=config)
            lines.append(line)
    return replace(analysis, cost="\n".join(filter(None, lines)))


def _settle_maps(analysis: Job[AnalyzeConfig], classifier: Classifier) -> tuple[AnalyzeConfig, str]:
    """The images a pass, and what the methods take where their speed was tried."""
    config = analysis.config
    if size := config.map_batch_size or recorded(analysis.out, "map_batch_size"):
        return config.having(map_batch_size=size), ""
    if recorded(analysis.out, "batch_size"):
        return config.having(map_batch_size=config.run.batch_size), ""  # as runs that know no other size have it
    costs = _costs(analysis, classifier)
    if _maps(config, analysis.count) * sum(costs.values()) < WORTH_TRYING:
        return config.having(map_batch_size=config.run.batch_size), ""
    size, speed = hardware.map_batch_size(classifier)
    return config.having(map_batch_size=size), maps_cost(config, analysis.count, costs, speed)


def _costs(analysis: Job[AnalyzeConfig], classifier: Classifier) -> dict[str, int]:
    """Forward passes of an image that each method with passes of its own takes at most; of captum's others none."""
    costs = {name: METHODS[name].cost for name in analysis.config.own_methods}
    kinds = {cost.each for cost in costs.values()}
    size, images = classifier.input_size, analysis.images
    number = {"": 1}
    if "channel" in kinds:
        number["channel"] = _channels(classifier)
    if "superpixel" in kinds:
        tried = read_batch(images, size, analysis.positions[:TRIED], analysis.config.data.resize).pixels.numpy()
        cut = [superpixels(one / np.float32(255), method_for(images.channels, size), 0) for one in tried]
        number["superpixel"] = round(np.mean([labels.max() + 1 for labels in cut])) if cut else 1
    return {name: cost.most * number[cost.each] for name, cost in costs.items() if cost.most is not None}


def _channels(classifier: Classifier) -> int:
    """Channels of the attention layer."""
    grey = torch.full((1, classifier.channels, *classifier.input_size), 0.5, device=classifier.device)
    with frozen_eval(classifier), torch.no_grad(), capture_activations(classifier, cut=True) as captured:
        classifier(grey)
    return int(classifier.spatial(captured.pop()).shape[1])


def _maps(config: AnalyzeConfig, images: int) -> int:
    """Maps that each method makes: of the clean images, the attacked ones, and what measures and sanity ask for."""
    near = NEAR if "max-sensitivity" in config.measures else 0
    looks = 1 + len(config.attack.eps or [None])
    weights = 1 + 2 * STAGES if config.sanity else 0
    return images * looks * (1 + near) + min(images, SAMPLE) * weights


def maps_cost(config: AnalyzeConfig, images: int, costs: Mapping[str, int], speed: float) -> str:
    """Estimate the time that the methods' own passes take, as one line.

    `costs` are forward passes of an image of each method, `speed` is in forward passes a second. Cutting superpixels
    is not part of it, nor what `captum:NAME` takes.
    """
    maps = _maps(config, images)
    passes = maps * sum(costs.values())
    each = ", ".join(f"{name} {cost}" for name, cost in costs.items())
    return (
        f"other methods' own passes: about {timedelta(seconds=round(passes / speed))}: {passes:,} passes ("
        f"{counted(images, 'image')}, {maps:,} maps of {sum(costs.values())} passes: {each}) at {speed:.0f} a second"
    )


def _settle_lime(analysis: Job[AnalyzeConfig], classifier: Classifier) -> tuple[AnalyzeConfig, str]:
    """The way of cutting and the samples a pass, and what LIME takes at most where its speed was tried."""
    config, images, note = analysis.config, analysis.images, ""
    if config.lime.superpixels == AUTO:
        before = (recorded(analysis.out, "options") or {}).get("lime", {}).get("superpixels")
        config = config.having(lime_superpixels=before or method_for(images.channels, classifier.input_size))
        if config.lime.superpixels == "slic":
            note = "; superpixels by slic, as quickshift finds too few in images this small"
    if size := config.lime.batch_size or recorded(analysis.out, "lime_batch_size"):
        return config.having(lime_batch_size=size), ""
    size, speed = hardware.lime_batch_size(classifier)
    tried = read_batch(images, classifier.input_size, analysis.positions[:TRIED], config.data.resize)
    cutting = hardware.cutting_seconds(tried, config.lime.superpixels)
    cost = lime_cost(config, analysis.count, speed, cutting, config.run.workers or 0)
    return config.having(lime_batch_size=size), cost + note


def lime_cost(config: AnalyzeConfig, images: int, speed: float, cutting: float, workers: int) -> str:
    """Estimate the time LIME takes at most, if every image is classified correctly, as one line.

    The time that the lime package spends beside its passes is not part of it.

    `speed` is in forward passes a second, `cutting` in seconds an image, done by workers beside the passes or in turn.
    """
    samples = lime_settings(config.lime).samples
    explanations = images * (1 + len(config.attack.eps or [None]) + config.lime.floor)
    forwards = explanations * samples
    cuts = images if config.lime.segments == "shared" else explanations
    passing, cut = forwards / speed, cuts * cutting / max(1, workers)
    where = f" on {counted(workers, 'process')}" if workers else ""
    own = "; the lime package's own work comes on top" if config.lime.engine == "lime" else ""
    total = timedelta(seconds=round(max(passing, cut) if workers else passing + cut))
    return (
        f"LIME: at most {total}: {forwards:,} passes ({counted(images, 'image')} x {explanations // max(1, images)} "
        f"explanations x {samples} samples) at {speed:.0f} a second, {cuts:,} cuts into superpixels of "
        f"{cutting:.2f} s{where}; "
        f"records of about {explanations * LIME_BYTES / 1e6:.0f} MB{own}"
    )
