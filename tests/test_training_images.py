"""Training images: which are held out, in what order they come, how they are augmented, where they lie."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from attnlab.data import load_dataset
from attnlab.data.mnist_cifar import ArraySet
from attnlab.errors import UserError
from attnlab.training import images as module
from attnlab.training.distributed import ProcessGroup
from attnlab.training.images import DRAWS, Resident, Streamed, augmented, hold_out, open_images, order_of

CPU = torch.device("cpu")


def array_set(count: int = 60, classes: int = 3, side: int = 10, channels: int = 3) -> ArraySet:
    """Noise of one size; the labels in turn."""
    shape = (count, side, side) if channels == 1 else (count, side, side, channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return ArraySet("noise", "train", pixels, np.arange(count, dtype=np.uint8) % classes, tuple("abcdefghij"[:classes]))


@pytest.fixture
def tree(tmp_path):
    """ImageNet's training split of three classes with five images each, one of them cut short."""
    draw = np.random.default_rng(0)
    for wnid in ("n01", "n02", "n03"):
        (tmp_path / "train" / wnid).mkdir(parents=True)
        for number in range(5):
            pixels = draw.integers(0, 256, (20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / wnid / f"{wnid}_{number}.png")
    damaged = tmp_path / "train" / "n02" / "n02_3.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    return load_dataset("imagenet", tmp_path, "train")


# ------------------------------------------------------------------ held out


def test_held_out_and_training_images_share_none_and_are_all():
    train, held = hold_out(array_set(), 12, 0)
    assert len(held) == 12
    assert sorted(train + held) == list(range(60))


def test_objects_of_one_photograph_are_all_held_out_or_all_trained_on(tmp_path):
    rows = "".join(f"{number}.png,{k % 3},0,0,5,{k + 1}\n" for number in range(12) for k in range(number % 5 + 1))
    (tmp_path / "boxes.csv").write_text(f"image,label,x0,y0,x1,y1\n{rows}")
    for number in range(12):
        Image.new("RGB", (9, 9)).save(tmp_path / f"{number}.png")
    images = load_dataset("folder", tmp_path, "train", "each")
    for count, limit in ((1, None), (8, None), (8, 5), (20, 100)):
        train, held = hold_out(images, count, 0, limit)
        of_train, of_held = ({images.image_ids[index].partition("#")[0] for index in part} for part in (train, held))
        assert not of_train & of_held
        assert len(held) == count
        assert len(of_train | of_held) == 12 or len(train) == limit


def test_held_out_images_are_of_all_classes_alike():
    images = array_set()
    _, held = hold_out(images, 12, 0)
    assert np.bincount(images.labels[held]).tolist() == [4, 4, 4]


def test_a_limit_changes_no_held_out_image_and_takes_from_all_classes():
    images = array_set()
    everything, held = hold_out(images, 12, 0)
    train, again = hold_out(images, 12, 0, limit=9)
    assert again == held
    assert np.bincount(images.labels[train]).tolist() == [3, 3, 3]
    assert set(train) < set(everything)
    assert hold_out(images, 12, 0, limit=1000) == (everything, held)


@pytest.mark.parametrize("count", [0, -1, 60, 61])
def test_nothing_held_out_and_nothing_left_are_refused(count):
    with pytest.raises(UserError, match=f"expected --held-out from 1 to 59, .* got {count}"):
        hold_out(array_set(), count, 0)


# ------------------------------------------------------------------ order


def test_an_epochs_order_has_every_image_once_and_follows_from_seed_and_epoch_alone():
    first = order_of(50, 3, 0)
    assert sorted(first) == list(range(50))
    torch.manual_seed(9)
    assert order_of(50, 3, 0) == first
    assert order_of(50, 3, 1) != first
    assert order_of(50, 4, 0) != first


def test_processes_share_every_batch():
    order = [5, 3, 8, 1, 7, 2, 9, 4]
    assert ProcessGroup(0, 2).share(order, 4) == [5, 3, 7, 2]
    assert ProcessGroup(1, 2).share(order, 4) == [8, 1, 9, 4]
    assert ProcessGroup().share(order, 4) == order


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(UserError, match="expected a --batch-size that 3 processes can share evenly, got 4"):
        ProcessGroup(0, 3).part(4)


# ------------------------------------------------------------------ augmentation


@pytest.fixture
def pixels() -> Tensor:
    return torch.randint(0, 256, (7, 3, 12, 15), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture
def draws() -> Tensor:
    return torch.rand(7, DRAWS, generator=torch.Generator().manual_seed(1))


def test_none_leaves_images_as_they_are(pixels, draws):
    assert augmented(pixels, "none", draws) is pixels


def test_crop_flip_equals_cutting_one_framed_image_after_the_other(pixels, draws):
    expected = []
    for image, (mirror, down, across, *_) in zip(pixels.numpy(), draws.tolist(), strict=True):
        image = image[:, :, ::-1] if mirror < 0.5 else image
        framed = np.pad(image, [(0, 0), (4, 4), (4, 4)], mode="reflect")
        top, left = int(down * 9), int(across * 9)
        expected.append(framed[:, top : top + 12, left : left + 15])
    assert len({bool(mirror < 0.5) for mirror in draws[:, 0]}) == 2
    assert torch.equal(augmented(pixels, "crop-flip", draws), torch.from_numpy(np.stack(expected)))


def test_crop_flip_moves_by_at_most_four_pixels_each_way():
    image = torch.arange(400, dtype=torch.int32).view(1, 1, 20, 20)
    corners = []
    for draw in (0.0, 1 - 2**-24):
        moved = augmented(image, "crop-flip", torch.tensor([[0.9, draw, draw, 0, 0]]))
        corners.append(moved[0, 0, 10, 10].item() - image[0, 0, 10, 10].item())
    assert corners == [-4 * 20 - 4, 4 * 20 + 4]
    assert torch.equal(augmented(image, "crop-flip", torch.tensor([[0.9, 0.5, 0.5, 0, 0]])), image)


def test_resized_crop_flip_of_the_whole_area_is_the_image_or_its_mirror(pixels):
    whole = torch.tensor([[0.9, 1.0, 0.5, 0.3, 0.7]]).repeat(7, 1)
    assert torch.equal(augmented(pixels, "resized-crop-flip", whole), pixels)
    whole[:, 0] = 0.1
    assert torch.equal(augmented(pixels, "resized-crop-flip", whole), pixels.flip(3))


def test_resized_crop_flip_shows_a_part_between_8_and_100_percent_of_the_area():
    side = 200
    rows = torch.arange(side).view(1, 1, side, 1).expand(1, 1, side, side)
    images = torch.cat([rows, rows.transpose(2, 3)], 1).to(torch.uint8)  # a channel tells the row, one the column
    draws = torch.rand(200, DRAWS, generator=torch.Generator().manual_seed(0))
    seen = augmented(images.expand(200, -1, -1, -1), "resized-crop-flip", draws).int()
    tall = seen[:, 0, -1, 0] - seen[:, 0, 0, 0] + 1
    wide = (seen[:, 1, 0, -1] - seen[:, 1, 0, 0]).abs() + 1
    share = (tall * wide).double() / side**2
    assert 0.07 < share.min() < 0.12
    assert 0.9 < share.max() <= 1
    ratio = wide.double() / tall
    assert 0.7 < ratio.min() < 0.8 < 1.25 < ratio.max() < 1.4
    mirrored = seen[:, 1, 0, -1] < seen[:, 1, 0, 0]
    assert torch.equal(mirrored, draws[:, 0] < 0.5)


@pytest.mark.parametrize("how", ["crop-flip", "resized-crop-flip"])
def test_an_images_augmentation_follows_from_its_own_draws(pixels, draws, how):
    together = augmented(pixels, how, draws)
    assert together.dtype == torch.uint8
    for row in range(7):
        assert torch.equal(augmented(pixels[[row]], how, draws[[row]])[0], together[row])


# ------------------------------------------------------------------ where they lie


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_of_the_models_size_equal_images_read_one_by_one(channels, monkeypatch):
    images = array_set(channels=channels)
    at_once = open_images(images, [5, 3, 59], (10, 10), CPU, 0)
    monkeypatch.setattr(module, "ArraySet", type(None))
    one_by_one = open_images(images, [5, 3, 59], (10, 10), CPU, 0)
    assert torch.equal(at_once.pixels, one_by_one.pixels)
    assert at_once.pixels.shape == (3, channels, 10, 10)
    assert at_once.labels.tolist() == one_by_one.labels.tolist() == [2, 0, 2]


def test_arrays_of_another_size_are_resized():
    assert open_images(array_set(), [0, 1], (6, 8), CPU, 0).pixels.shape == (2, 3, 6, 8)


def test_streamed_batches_equal_resident_ones(tree, monkeypatch):
    positions = [0, 1, 2, 3, 4, 5, 10, 11]
    resident = open_images(tree, positions, (8, 8), CPU, 0)
    monkeypatch.setattr(module, "RESIDENT", 0)
    streamed = open_images(tree, positions, (8, 8), CPU, 0)
    assert (type(resident), type(streamed)) == (Resident, Streamed)
    assert len(resident) == len(streamed) == 8
    order = [7, 0, 3, 2, 6]
    for ours, theirs in zip(streamed.batches(order, 2), resident.batches(order, 2), strict=True):
        assert torch.equal(ours.pixels, theirs.pixels)
        assert torch.equal(ours.labels, theirs.labels)
    assert list(streamed.batches([], 2)) == list(resident.batches([], 2)) == []


def test_an_image_that_cannot_be_read_is_told_of_and_left_out(tree):
    with pytest.warns(UserWarning, match=r"1 of 15 images cannot be used, such as n02_3 \(cannot be decoded"):
        assert len(open_images(tree, range(15), (8, 8), CPU, 0)) == 14


def test_another_of_its_batch_stands_in_for_a_streamed_image_that_cannot_be_read(tree, monkeypatch):
    monkeypatch.setattr(module, "RESIDENT", 0)
    streamed = open_images(tree, range(15), (8, 8), CPU, 0)
    with pytest.warns(UserWarning, match="another image stands in for n02_3: cannot be decoded"):
        (batch,) = streamed.batches([0, 8, 10], 3)
    assert batch.labels.tolist() == [0, 2, 0]
    with pytest.raises(UserError, match=r"none of the images n02_3 ... can be used: cannot be decoded"):
        list(streamed.batches([8], 1))
