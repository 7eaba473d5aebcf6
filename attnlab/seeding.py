"""Derive seeds from the run's seed and an image's name, never from a global stream."""

import hashlib

from attnlab.errors import check_between

SEEDS = 2**63  # above every seed, so that one fits whatever it is written to


def seed_of(seed: int, image_id: str) -> int:
    """Seed of what is random about one image: it depends on the run's seed and the image's name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed} {image_id}".encode()).digest()[:8], "big")


def check_seed(seed: int) -> None:
    """Refuse a run's seed that is negative or out of range."""
    check_between(seed, 0, SEEDS - 1, "--seed")
