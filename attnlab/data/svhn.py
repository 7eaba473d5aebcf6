"""SVHN's cropped digits (Netzer et al. 2011) from the files they are published as, without boxes."""

import io
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from attnlab.compat import torchvision
from attnlab.data.mnist_cifar import ArraySet, read_published
from attnlab.stores import StorePath


def svhn(root: Path | StorePath, split: str) -> ArraySet:
    """Open SPLIT_32x32.mat, in the root or in a folder svhn or SVHN of it; the digit 0, there 10, is class 0.

    Raises:
        UserError: If the file is not the published one, whose checksum torchvision knows.
    """
    _, name, checksum = torchvision.datasets.SVHN.split_list[split]
    folder = next((path for path in (root / "svhn", root / "SVHN") if (path / name).is_file()), root)
    file = io.BytesIO(read_published(folder, name, checksum, "download it again"))
    content = loadmat(file)  # type: ignore[arg-type]  # an open file is taken too
    pixels = np.ascontiguousarray(content["X"].transpose(3, 0, 1, 2))  # from (H, W, 3, N)
    return ArraySet("svhn", split, pixels, (content["y"].ravel() % 10).astype(np.uint8), tuple("0123456789"))
