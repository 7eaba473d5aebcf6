"""The convolution of grey images against torch's own."""

import pytest
import torch
from torch import Tensor, nn

from attnlab.models.grey_conv import GreyConv2d, gradient_by_image

SIZES = [(28, 28), (8, 12), (27, 28), (28, 30)]  # the last two by torch's own way


def pair(kernel_size: int = 5, dtype: torch.dtype = torch.float64) -> tuple[GreyConv2d, nn.Conv2d]:
    ours, torchs = GreyConv2d(6, kernel_size).to(dtype), nn.Conv2d(1, 6, kernel_size).to(dtype)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


def images(size: tuple[int, int], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(3, 1, *size, dtype=dtype, generator=torch.Generator().manual_seed(1)).requires_grad_()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 8])
def test_gradients_of_both_orders_equal_torchs(size: tuple[int, int], kernel_size: int) -> None:
    found = []
    ours, torchs = pair(kernel_size)
    assert ("_Convolution" in str(ours(images(size)).grad_fn)) == (size in SIZES[:2])
    for conv in (ours, torchs):
        x = images(size)
        wanted = [x, *conv.parameters()]
        first = torch.autograd.grad(conv(x).pow(3).sum(), wanted, create_graph=True)
        second = torch.autograd.grad(sum(gradient.pow(2).sum() for gradient in first), wanted)
        found.append([conv(x), *first, *second])
    for ours, torchs in zip(*found, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-10, atol=1e-10)


def test_the_gradient_by_the_image_is_the_transposed_convolution_by_hand() -> None:
    weight = torch.randn(2, 1, 3, 3, dtype=torch.float64)
    gradient = torch.randn(1, 2, 2, 6, dtype=torch.float64)
    by_hand = torch.zeros(1, 1, 4, 8, dtype=torch.float64)
    for channel in range(2):
        for row in range(2):
            for column in range(6):
                by_hand[0, 0, row : row + 3, column : column + 3] += (
                    gradient[0, channel, row, column] * weight[channel, 0]
                )
    torch.testing.assert_close(gradient_by_image(gradient, weight, torch.float64), by_hand)


def test_frozen_weights_get_no_gradient_and_images_alone_do() -> None:
    ours, _ = pair()
    x = images((28, 28))
    ours.requires_grad_(False)(x).sum().backward()
    assert x.grad is not None
    assert ours.weight.grad is None


def test_bfloat16_passes_give_float32_gradients_near_torchs() -> None:
    found = []
    for conv in pair(dtype=torch.float32):
        x = images((28, 28), torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            maps = conv(x)
        assert maps.dtype == torch.bfloat16
        found.append(torch.autograd.grad(maps.float().pow(2).sum(), [x, *conv.parameters()]))
    for ours, torchs in zip(*found, strict=True):
        assert ours.dtype == torchs.dtype == torch.float32
        assert (ours - torchs).abs().max() <= 0.02 * torchs.abs().max()


def test_a_gradient_is_in_the_precision_of_its_forward_pass():
    found = []
    for conv in pair(dtype=torch.float32):
        x = images((28, 28), torch.float32)
        value = conv(x).pow(2).sum()
        with torch.autocast("cpu", torch.bfloat16):
            found.append(torch.autograd.grad(value, x)[0])
    torch.testing.assert_close(*found)


def test_transforms_of_functions_go_through_it():
    x = images((8, 8)).detach()
    found = []
    for conv in pair():

        def value(seen: Tensor, conv: nn.Module = conv) -> Tensor:
            return conv(seen[None]).sin().sum()

        gradient, hessian = torch.func.grad(value), torch.func.jacrev(torch.func.jacrev(value))
        found.append((gradient(x[0]), torch.func.vmap(gradient)(x), hessian(x[0])))
    torch.testing.assert_close(*found)
