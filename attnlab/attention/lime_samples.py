"""Which superpixels LIME's samples show, one function for each name in SAMPLINGS.

Each sample alone shows a random half whatever the name, so that of many samples a regression finds the same weights;
names differ in how samples hang together, and so in how much few samples err. Nothing here knows torch.
"""

import numpy as np

Rows = np.ndarray[tuple[int, int], np.dtype[np.uint8]]  # 1 where a sample shows a superpixel, (samples, superpixels)
Draws = np.random.Generator


def random(draws: Draws, samples: int, superpixels: int) -> Rows:
    """Each sample by itself, the first one aside: as in lime it is the whole image."""
    rows = draws.integers(0, 2, (samples, superpixels), dtype=np.uint8)
    rows[0] = 1
    return rows


def paired(draws: Draws, samples: int, superpixels: int) -> Rows:
    """Each sample is followed by its complement, so that what two superpixels do together adds nothing to weights."""
    return with_complements(draws.integers(0, 2, (-(-samples // 2), superpixels), dtype=np.uint8))[:samples]


def orthogonal(draws: Draws, samples: int, superpixels: int) -> Rows:
    """Such pairs in blocks that show every two superpixels as often together as apart, so that weights do not mix.

    A block is the rows of a Hadamard matrix, each followed by its complement: an orthogonal array of strength 3 (a
    Plackett-Burman design, folded over: Box and Wilson 1951). Columns and rows are shuffled, and columns flipped, at
    random, block by block.
    """
    blocks: list[Rows] = []
    while sum(map(len, blocks)) < samples:
        blocks.append(with_complements(_hadamard(draws, superpixels)))
    return np.concatenate(blocks)[:samples]


def _hadamard(draws: Draws, superpixels: int) -> Rows:
    """Sylvester's matrix of the next power of two, 0 and 1, with as many columns: (that power, superpixels)."""
    order = 1 << (superpixels - 1).bit_length()
    columns, flips = draws.permutation(order)[:superpixels], draws.integers(0, 2, superpixels, dtype=np.uint8)
    numbers = draws.permutation(order)[:, None] & columns
    rows: Rows = (np.bitwise_count(numbers) % 2).astype(np.uint8) ^ flips
    return rows


def with_complements(rows: Rows) -> Rows:
    """Each row followed by its complement: twice as many."""
    return np.stack([rows, 1 - rows], axis=1).reshape(-1, rows.shape[1])
