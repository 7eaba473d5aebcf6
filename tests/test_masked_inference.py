"""Images partly hidden: what is composed, and batches that memory allows."""

import pytest
import torch

from attnlab.attention.masked_inference import MaskedInference, in_batches


def test_batches_are_halved_for_good_where_memory_runs_out():
    tried = []

    def run(part: slice) -> list[int]:
        tried.append(part.stop - part.start)
        if tried[-1] > 3:
            raise RuntimeError("CUDA out of memory")
        return list(range(9))[part]

    answers, batch_size = in_batches(run, 9, 8)
    assert (answers, batch_size) == ([[0, 1], [2, 3], [4, 5], [6, 7], [8]], 2)
    assert tried == [8, 4, 2, 2, 2, 2, 1]


def test_other_failures_and_single_images_without_memory_are_raised():
    def fail(message: str):
        def run(part: slice) -> None:
            raise RuntimeError(message)

        return run

    with pytest.raises(RuntimeError, match="shapes"):
        in_batches(fail("shapes differ"), 2, 2)
    with pytest.raises(RuntimeError, match="out of memory"):
        in_batches(fail("out of memory"), 2, 2)


def test_a_share_of_a_pixel_shines_through_images_that_hide_it(small, batch):
    images, hidden, classes = (part[:2] for part in batch)
    pixels = torch.arange(19 * 23).view(1, 19, 23).expand(2, -1, -1)
    shares = torch.rand(2, 3, 19 * 23, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        engine = MaskedInference(small, images, classes, pixels, hidden, 4)
        answers = torch.stack(engine([(0, shares[0]), (1, shares[1])]))
        masks = shares.view(2, 3, 1, 19, 23)
        composed = (images[:, None] * masks + hidden[:, None] * (1 - masks)).flatten(0, 1)
        expected = small(composed).softmax(1).gather(1, classes.repeat_interleave(3)[:, None]).view(2, 3)
    assert torch.allclose(answers, expected, atol=1e-12)
