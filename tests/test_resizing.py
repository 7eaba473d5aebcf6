"""How images and boxes reach the model's size: against plain arithmetic, and torchvision's own preset."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from attnlab.boxes import mask_of, rasterise, usable
from attnlab.compat import functional, torchvision, tv_tensors
from attnlab.data import RESIZINGS
from attnlab.data.placing import place, place_boxes

NO_BOXES: list[list[float]] = []


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def moved(image: Image.Image, box: list[float], size: tuple[int, int], resize: str) -> tuple[list[list[float]], float]:
    """A box at the model's size and the share of its area that is left."""
    _, boxes, share = place(image, [box], size, resize)
    return boxes.tolist(), share


# ------------------------------------------------------------------ sizes and pixels


@pytest.mark.parametrize(
    ("image", "size", "resized"),
    [
        ((500, 375), (224, 224), (341, 256)),  # height, width
        ((375, 500), (224, 224), (256, 341)),
        ((333, 500), (224, 224), (256, 384)),  # 384.38: cut off, not rounded up
        ((500, 375), (299, 299), (456, 342)),
        ((299, 299), (299, 299), (342, 342)),
        ((64, 64), (64, 64), (73, 73)),
    ],
)
def test_crop_resizes_the_shorter_side_to_eight_sevenths(image, size, resized):
    assert RESIZINGS["crop"](image, size) == resized


@pytest.mark.parametrize("name", ["resnet50", "inception_v3"])
@pytest.mark.parametrize("shape", [(500, 375), (375, 500), (640, 427), (100, 90)])
def test_crop_equals_torchvisions_own_preset(name, shape):
    weights = {"resnet50": "IMAGENET1K_V1"}.get(name, "DEFAULT")
    preset = torchvision.models.get_model_weights(name)[weights].transforms()
    image, side = noise(*shape), preset.crop_size[0]
    pixels, _, _ = place(image, NO_BOXES, (side, side), "crop")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preset.mean, preset.std))
    theirs = preset(image) * std + mean
    torch.testing.assert_close(pixels.float() / 255, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_squash_equals_pillows_own_resize(mode):
    image = noise(90, 50, mode)
    pixels, _, _ = place(image, NO_BOXES, (64, 32), "squash")
    theirs = np.asarray(image.resize((32, 64), Image.Resampling.BILINEAR)).reshape(64, 32, -1)
    np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), theirs)


@pytest.mark.parametrize("resize", RESIZINGS)
def test_an_image_of_the_models_size_is_not_blurred_by_squash(resize):
    image = noise(64, 64)
    pixels, _, _ = place(image, NO_BOXES, (64, 64), resize)
    same = np.array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(image))
    assert same == (resize == "squash")


# ------------------------------------------------------------------ boxes


def by_hand(box: np.ndarray, image: tuple[int, int], size: tuple[int, int], resize: str) -> np.ndarray:
    """Where a box (x0, y0, x1, y1) of an image (width, height) comes to lie, in plain arithmetic."""
    width, height = image
    if resize == "squash":
        return box * np.array([size[1] / width, size[0] / height] * 2)
    short = round(min(size) * 8 / 7)
    new = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    left, top = round((new[0] - size[1]) / 2), round((new[1] - size[0]) / 2)
    scaled = box * np.array([new[0] / width, new[1] / height] * 2) - np.array([left, top] * 2)
    return scaled.clip(0, np.array([size[1], size[0]] * 2))


@pytest.mark.parametrize("resize", RESIZINGS)
@pytest.mark.parametrize("side", [224, 299])
def test_boxes_equal_plain_arithmetic(resize, side):
    random = np.random.default_rng(0)
    for _ in range(50):
        width, height = random.integers(60, 700, 2)
        corners = np.sort(random.random((2, 2)) * [width, height], axis=0)
        box = corners.reshape(-1)
        expected = by_hand(box, (width, height), (side, side), resize)
        got, _ = moved(Image.new("L", (int(width), int(height))), box.tolist(), (side, side), resize)
        if (expected[2:] > expected[:2]).all():
            np.testing.assert_allclose(got[0], expected, atol=1e-3)
        else:
            assert got == []


@pytest.mark.parametrize("resize", RESIZINGS)
def test_mask_edges_equal_rational_arithmetic_also_halfway_between_pixels(resize):
    random, halves = np.random.default_rng(0), 0
    for width, height in [(400, 512), (512, 333), (500, 375), (375, 500), (448, 300), (586, 586)]:
        rows, columns = RESIZINGS[resize]((height, width), (256, 256))
        left, top = round((columns - 256) / 2), round((rows - 256) / 2)
        for _ in range(40):
            (x0, x1), (y0, y1) = (
                sorted(random.choice(side + 1, 2, replace=False).tolist()) for side in (width, height)
            )
            edges = [Fraction(x * columns, width) - left for x in (x0, x1)]
            edges += [Fraction(y * rows, height) - top for y in (y0, y1)]
            halves += sum(edge.denominator == 2 for edge in edges)
            edges = [min(max(round(edge), 0), 256) for edge in edges]  # Python rounds halves to even
            expected = torch.zeros(256, 256, dtype=torch.bool)
            expected[edges[2] : edges[3], edges[0] : edges[1]] = True
            image, box = Image.new("L", (width, height)), [x0, y0, x1, y1]
            assert np.array_equal(rasterise(place(image, [box], (256, 256), resize)[1], 256, 256), expected)
    assert halves > 20


def test_a_box_moves_with_what_it_frames():
    """A white rectangle on black: after either way to resize the box still frames exactly the bright pixels."""
    image = np.zeros((300, 420), np.uint8)
    image[90:210, 120:300] = 255
    for resize in RESIZINGS:
        pixels, boxes, _ = place(Image.fromarray(image), [[120, 90, 300, 210]], (64, 64), resize)
        assert np.array_equal(pixels[0] > 127, rasterise(boxes, 64, 64))


def test_crop_cuts_a_box_at_the_frame_and_tells_the_share_that_is_left():
    # 400 x 200 becomes 512 x 256; the middle 224 x 224 starts at (144, 16)
    image = Image.new("RGB", (400, 200))
    assert moved(image, [0, 0, 400, 200], (224, 224), "crop") == ([[0, 0, 224, 224]], 224 * 224 / (512 * 256))
    assert moved(image, [100, 50, 300, 150], (224, 224), "crop") == ([[0, 48, 224, 176]], 224 / 256)
    assert moved(image, [150, 50, 250, 150], (224, 224), "crop") == ([[48, 48, 176, 176]], 1)
    assert moved(image, [0, 0, 100, 200], (224, 224), "crop") == ([], 0)


def test_share_counts_where_boxes_overlap_once():
    boxes = [[0, 0, 300, 200], [100, 0, 400, 200]]  # together the whole image
    _, _, share = place(Image.new("RGB", (400, 200)), boxes, (224, 224), "crop")
    assert share == 224 * 224 / (512 * 256)


def test_squash_keeps_all_of_every_box():
    assert moved(Image.new("RGB", (400, 200)), [0, 0, 100, 200], (224, 224), "squash") == ([[0, 0, 56, 224]], 1)


def test_without_a_box_there_is_no_share():
    assert math.isnan(place(Image.new("RGB", (400, 200)), NO_BOXES, (224, 224), "crop")[2])


def test_of_a_box_too_thin_for_a_pixel_at_the_models_size_nothing_is_left():
    _, share = moved(Image.new("RGB", (4000, 200)), [104, 0, 108, 200], (100, 100), "squash")  # 0.1 pixels wide
    assert share == 0


@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_boxes_move_as_torchvisions_transforms_move_them(resize):
    draw = np.random.default_rng(5)
    for _ in range(200):
        width, height = draw.integers(20, 500, 2).tolist()
        size = (64, 64) if draw.random() < 0.5 else (30, 51)
        corners = draw.uniform(-10, 1.1, (3, 4)) * [width, height, width, height]
        boxes = usable(torch.from_numpy(corners.round(int(draw.integers(0, 2)))).abs(), height, width)
        frame = list(RESIZINGS[resize]((height, width), size))
        scaled = boxes * torch.tensor([*frame[::-1]] * 2) / torch.tensor([width, height] * 2)
        resized = tv_tensors.BoundingBoxes(scaled, format="XYXY", canvas_size=frame)
        cut = functional.center_crop(resized, list(size))
        before, after = (usable(item.as_subclass(torch.Tensor), *item.canvas_size).float() for item in (resized, cut))
        moved, share = place_boxes(boxes.tolist(), (height, width), tuple(frame), size)
        assert np.array_equal(moved, after.numpy())
        area = int(mask_of(before, *frame).sum())
        if len(boxes):
            assert share == (int(mask_of(after, *size).sum()) / area if area else 0)
        else:
            assert math.isnan(share)
