"""Where randomness comes from: the run's seed and an image's name, never a global stream."""

import hashlib


def seed_of(seed: int, image_id: str) -> int:
    """Seed of what is random about one image: it depends on the run's seed and the image's name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed} {image_id}".encode()).digest()[:8], "big")
