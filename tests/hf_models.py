"""Tiny classifiers of transformers with random weights, in folders of `save_pretrained`."""

from pathlib import Path
from typing import Any

import torch

from attnlab.compat import torchvision  # noqa: F401 - before transformers

NAMES = [f"thing {number}" for number in range(10)]


def save(folder: Path, kind: str, processor: str = "", labels: bool = True, **options: Any) -> str:
    """Write a model of that kind, and its image processor if its class is named; returns the model's name."""
    import transformers

    config, size = {
        "vit": (tokens(transformers.ViTConfig, patch_size=8), {"height": 32, "width": 32}),
        "swin": (
            transformers.SwinConfig(
                image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, num_labels=10
            ),
            32,
        ),
        "convnext": (
            transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, num_labels=10),
            {"shortest_edge": 32},
        ),
        "dinov2": (tokens(transformers.Dinov2Config, patch_size=8), {"shortest_edge": 40}),
    }[kind]
    if labels:
        config.id2label = dict(enumerate(NAMES))
    torch.manual_seed(1)
    network = transformers.AutoModelForImageClassification.from_config(config)
    network.save_pretrained(folder)
    if processor:
        getattr(transformers, processor)(**{"size": size, **options}).save_pretrained(folder)
    return f"hf:{folder}"


def tokens(config: Any, **options: Any) -> Any:
    return config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, num_labels=10,
        **options,
    )  # fmt: skip
