"""The attention terms that training descends: equations 8 and 9 in plain code, finite differences, missing areas."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from attnlab.attention.gradcam import capture_activations, grad_cam, logits_and_maps
from attnlab.models import Classifier
from attnlab.training import ATTENTION_LOSSES
from attnlab.training.losses import hide, mean_over, preservation, rectification, softmax_maps, sum_over
from attnlab.training.parse import parse_defense
from attnlab.training.step import Step


def plain_masked(classifier: Classifier, images: Tensor, labels: Tensor, fill: float) -> Tensor:
    """Equation 7 image by image."""
    masked, size = [], images.shape[2:]
    for image, map_ in zip(images, grad_cam(classifier, images, labels), strict=True):
        large = F.interpolate(map_.clamp(min=0)[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        area = (large >= large.mean()).double()
        masked.append(image * (1 - area) + fill * area)
    return torch.stack(masked)


@pytest.mark.parametrize(("fill", "value"), [("black", 0.0), ("grey", 0.5)])
def test_attention_terms_equal_equations_8_and_9_in_plain_code(either, batch, fill, value):
    clean, attacked, _ = batch
    labels = torch.tensor([0, 1, 4, 3])  # of which the first image's map has no area
    terms = Step(either, parse_defense("aad", alpha=1, beta=1, fill=fill))(clean, attacked, labels)
    distance = torch.zeros(4, dtype=torch.float64)
    for images in (clean, attacked):
        masked = plain_masked(either, images, labels, value)
        difference = either(images).softmax(1) - either(masked).softmax(1)
        distance += (difference**2).sum(1).sqrt()
    maps = [grad_cam(either, images, labels).clamp(min=0) for images in (clean, attacked)]
    there = torch.stack([map_.amax((1, 2)) > 0 for map_ in maps]).all(0)
    assert there.tolist() == [False, True, True, True]
    g, g_adv = (map_[there] / map_[there].amax((1, 2), keepdim=True) for map_ in maps)
    assert terms.weighted["rectification"].item() == pytest.approx(-distance[there].mean().item())
    assert terms.weighted["preservation"].item() == pytest.approx((g - g_adv).abs().mean().item())
    assert terms.diagnostics["without_area"].item() == pytest.approx(1 - there.double().mean().item())


def test_the_attended_quarter_is_hidden_and_the_rest_is_not():
    images, maps = torch.full((1, 2, 4, 4), 0.7), torch.tensor([[[1.0, -9.0], [-9.0, -9.0]]])
    hidden = hide(images, maps)
    # the map at image size: 1, 0.75, 0.25 and 0 on either axis, products of which are compared with their mean 0.25
    expected = torch.tensor([[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]) * 0.7
    assert torch.equal(hidden, expected.expand(1, 2, 4, 4))
    assert torch.equal(hide(images, maps, 0.5) == 0.5, hidden == 0)


def test_nothing_is_hidden_where_there_is_no_area():
    images = torch.full((2, 2, 4, 4), 0.7)
    assert torch.equal(hide(images, torch.tensor([0.0, -1.0]).view(2, 1, 1).expand(2, 2, 2)), images)


def test_preservation_of_four_cells_by_hand_whatever_their_scale():
    first, second = torch.tensor([[[4.0, 2.0], [-1.0, 0.0]]]), torch.tensor([[[0.1, 0.2], [-7.0, 0.2]]])
    assert preservation(first, second).item() == pytest.approx((0.5 + 0.5 + 0 + 1) / 4)
    torch.testing.assert_close(preservation(1000 * first, second), preservation(first, second))


def test_rectification_has_gradient_zero_where_both_answers_are_the_same():
    values = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(rectification(values, values.detach().clone()).sum(), values)
    assert torch.equal(gradient, torch.zeros(1, 3))


def test_mask_passes_no_gradient(either, batch):
    clean, attacked, labels = (part.requires_grad_(part.is_floating_point()) for part in batch)
    step = Step(either, parse_defense("aad", alpha=1, beta=0))
    ours = torch.autograd.grad(step(clean, attacked, labels).weighted["rectification"], list(either.parameters()))
    constant = [plain_masked(either, images.detach(), labels, 0.0) for images in (clean, attacked)]
    distance = sum(
        (either(images).softmax(1) - either(masked).softmax(1)).norm(dim=1)
        for images, masked in zip((clean, attacked), constant, strict=True)
    )
    there = torch.stack([grad_cam(either, i, labels).amax((1, 2)) > 0 for i in (clean, attacked)]).all(0)
    theirs = torch.autograd.grad(-distance[there].mean(), list(either.parameters()))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("term", ["rectification", "preservation"])
def test_gradient_of_an_attention_term_equals_finite_differences(either, batch, term):
    clean, attacked, labels = (part[1:3] for part in batch)
    alpha, beta = {"rectification": (1, 0), "preservation": (0, 1)}[term]
    step = Step(either, parse_defense("aad", alpha=alpha, beta=beta))
    names = [name for name, _ in step.named_parameters()]

    def value(clean: Tensor, attacked: Tensor, *parameters: Tensor) -> Tensor:
        terms = functional_call(step, dict(zip(names, parameters, strict=True)), (clean, attacked, labels))
        assert terms.diagnostics["without_area"] == 0
        return terms.weighted[term]

    inputs = [part.detach().clone().requires_grad_() for part in (clean, attacked, *step.parameters())]
    gradients = torch.autograd.grad(value(*inputs), inputs[:3])
    assert all(gradient.abs().max() > 1e-4 for gradient in gradients)  # of both kinds of images, of the first weights
    assert torch.autograd.gradcheck(value, inputs, fast_mode=True, eps=1e-7, atol=1e-7, rtol=1e-4)


def test_preservation_moves_both_maps(either, batch):
    clean, attacked, labels = batch
    for moved in (0, 1):
        images = [clean.clone(), attacked.clone()]
        images[moved].requires_grad_()
        terms = Step(either, parse_defense("aad", alpha=0))(*images, labels)
        (gradient,) = torch.autograd.grad(terms.weighted["preservation"], images[moved])
        assert gradient.abs().max() > 0


def without_evidence(classifier: Classifier, class_: int) -> Classifier:
    """The same with a map of that class that is nowhere positive."""
    with torch.no_grad():
        classifier.network.last.weight[class_] = 0
    return classifier


def test_images_without_an_area_drop_out_and_are_counted(either, batch):
    clean, attacked, _ = batch
    labels = torch.tensor([1, 2, 1, 2])
    step = Step(without_evidence(either, 2), parse_defense("none+aad", alpha=1, beta=1))
    terms, alone = step(clean, attacked, labels), step(clean[::2], attacked[::2], labels[::2])
    assert terms.diagnostics["without_area"].item() == 0.5
    assert alone.diagnostics["without_area"].item() == 0
    for name in ("rectification", "preservation"):
        torch.testing.assert_close(terms.weighted[name], alone.weighted[name])


class Brightness(nn.Module):
    """Logits b and -b of the mean brightness b; a black image has a map of zeros."""

    input_size = (4, 4)
    attention_layer = "same"

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(1, 1, 1, bias=False)
        self.last = nn.Linear(1, 2, bias=False)
        nn.init.ones_(self.same.weight)
        self.last.weight = nn.Parameter(torch.tensor([[1.0], [-1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.same(x).mean((2, 3)))


@pytest.mark.parametrize("black", ["clean", "adversarial"])
def test_an_image_drops_out_where_either_of_its_maps_has_no_area(black):
    bright, half = torch.ones(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    half[:, :, 2:] = 0  # whose upper half is attended
    (bright if black == "clean" else half)[1] = 0
    step = Step(Classifier(Brightness()), parse_defense("aad", alpha=1, beta=1))
    terms = step(bright, half, torch.zeros(2, dtype=torch.long))
    assert terms.diagnostics["without_area"].item() == 0.5
    assert terms.weighted["preservation"].item() == 0.5
    p = torch.tensor([[1.0, -1.0], [0.5, -0.5], [0.0, 0.0]]).softmax(1)
    expected = -((p[0] - p[2]).norm() + (p[1] - p[2]).norm())
    assert terms.weighted["rectification"].item() == pytest.approx(expected.item())


def test_a_batch_without_any_area_has_attention_terms_of_zero_and_no_nan(either, batch):
    clean, attacked, labels = batch
    step = Step(without_evidence(either, 2), parse_defense("aad"))
    terms = step(clean, attacked, torch.full_like(labels, 2))
    assert terms.diagnostics["without_area"].item() == 1
    assert (terms.weighted["rectification"].item(), terms.weighted["preservation"].item()) == (0, 0)
    assert all(g.isfinite().all() for g in torch.autograd.grad(terms.loss, list(step.parameters())))


def test_black_images_whose_masks_change_nothing_have_finite_gradients(either):
    black, labels = torch.zeros(2, 3, 19, 23, dtype=torch.float64), torch.tensor([0, 1])
    step = Step(either, parse_defense("aad"))
    terms = step(black, black, labels)
    assert terms.diagnostics["raw_rectification"].item() == 0
    assert all(g.isfinite().all() for g in torch.autograd.grad(terms.loss, list(step.parameters())))


# ------------------------------------------------------------------ several processes


def test_mean_over_what_is_there():
    values = torch.tensor([1.0, 2.0, 6.0, torch.nan])
    assert mean_over(values, torch.tensor([True, False, True, False])).item() == 3.5
    assert mean_over(values, torch.zeros(4, dtype=torch.bool)).item() == 0


def uneven(classifier: Classifier, batch: tuple[Tensor, ...], reading: str) -> tuple[Step, tuple[Tensor, ...]]:
    """A step and a batch of which one half has three times the areas of the other, where maps can be without one."""
    step = Step(without_evidence(classifier, 2), parse_defense("aad", alpha=1, beta=1, attention_loss=reading))
    clean, attacked, _ = batch
    return step, (clean, attacked, torch.tensor([1, 1, 2, 1]))


def one_of_two(rank: int, folder: str, classifier: Classifier, batch: tuple[Tensor, ...], reading: str) -> None:
    """Half a batch under DDP; writes the gradients."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    step, batch = uneven(classifier, batch, reading)
    wrapped = nn.parallel.DistributedDataParallel(step)
    wrapped(*(part[2 * rank : 2 * rank + 2] for part in batch)).loss.backward()
    torch.save([parameter.grad for parameter in step.parameters()], f"{folder}/{rank}.pt")
    del wrapped  # see `ProcessGroup.wrap`
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(("reading", "without"), [("mean", 0.25), ("sum", 0.25), ("code", 0)])
def test_two_processes_with_half_the_batch_each_have_the_gradient_of_one(tmp_path, small, batch, reading, without):
    step, whole = uneven(small, batch, reading)
    assert Step.forward(step, *whole).diagnostics["without_area"].item() == without
    step(*whole).loss.backward()
    expected = [parameter.grad.clone() for parameter in step.parameters()]
    step.zero_grad()
    mp.spawn(one_of_two, (str(tmp_path), small, batch, reading), nprocs=2)
    for rank in range(2):
        for mine, theirs in zip(expected, torch.load(tmp_path / f"{rank}.pt"), strict=True):
            torch.testing.assert_close(theirs, mine)


# ------------------------------------------------------------------ readings of the attention terms


#: two images of 2 x 2 cells, clean and attacked: the largest values 4, 1 and 0.2, 1
MAPS = torch.tensor([[[4.0, 2.0], [-1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]])
MOVED = torch.tensor([[[0.1, 0.2], [-7.0, 0.2]], [[0.0, 1.0], [0.0, 0.0]]])
LOGITS = torch.tensor([[3.0, 1.0, 1.0], [1.0, 1.0, 2.0]]).log()  # p .6 .2 .2, and .25 .25 .5
MASKED = torch.tensor([[1.0, 1.0, 3.0], [1.0, 1.0, 2.0]]).log()  # p .2 .2 .6, and the same


def test_mean_and_sum_of_two_images_by_hand():
    mean, total = ATTENTION_LOSSES["mean"], ATTENTION_LOSSES["sum"]
    assert mean.preservation(MAPS, MOVED).tolist() == pytest.approx([(0.5 + 0.5 + 0 + 1) / 4, 2 / 4])
    assert total.preservation(MAPS, MOVED).tolist() == pytest.approx([0.5 + 0.5 + 0 + 1, 2])
    assert total.preservation(MAPS[1:], MOVED[1:]).tolist() == pytest.approx([2])
    for reading in (mean, total):
        assert reading.rectification(LOGITS, MASKED).tolist() == pytest.approx([-(0.32**0.5), 0], abs=1e-6)


def test_the_codes_terms_of_two_images_by_hand():
    code = ATTENTION_LOSSES["code"]
    assert code.rectification(LOGITS, MASKED).tolist() == pytest.approx([-(0.16 + 0 + 0.16) / 3, 0], abs=1e-6)
    g, g_adv = torch.tensor([[[0.7, 0.1], [0.1, 0.1]]] * 2), torch.tensor([[[0.1, 0.5], [0.3, 0.1]]] * 2)
    assert code.preservation(g, g_adv).tolist() == pytest.approx([0.36 + 0.16 + 0.04 + 0] * 2)
    batch = code.preservation(g, g_adv)
    assert sum_over(batch, torch.tensor([True, True])).item() == pytest.approx(2 * 0.56)
    assert sum_over(batch.where(torch.tensor([True, False]), torch.nan), torch.tensor([True, False])) == batch[0]


def test_the_codes_maps_are_a_softmax_of_maps_by_gradients_of_length_one(either, batch):
    clean, _, labels = batch
    _, maps = logits_and_maps(either, clean, labels, method=softmax_maps)
    for number in range(len(clean)):
        signed = logits_and_maps(either, clean, labels)[1]
        with capture_activations(either) as seen:
            score = either(clean)[number, labels[number]]
        (gradient,) = torch.autograd.grad(score, seen[0])
        cells = signed[number] / gradient[number].square().mean().sqrt()
        torch.testing.assert_close(maps[number], (cells.exp() / cells.exp().sum()).detach())


def test_sum_is_mean_times_the_cells_and_code_weighs_8_4_1(either, batch):
    step = Step(either, parse_defense("mixed+aad"))
    mean, total = step(*batch), Step(either, parse_defense("mixed+aad", attention_loss="sum"))(*batch)
    cells = grad_cam(either, *batch[::2])[0].numel()
    assert cells > 4
    torch.testing.assert_close(total.weighted["preservation"], cells * mean.weighted["preservation"])
    for name in ("clean", "adversarial", "rectification"):
        assert torch.equal(total.weighted[name], mean.weighted[name])
    code = Step(either, parse_defense("mixed+aad", attention_loss="code", classification="cross-entropy"))(*batch)
    for name in ("clean", "adversarial"):
        torch.testing.assert_close(code.weighted[name], 8 * mean.weighted[name])
    for name, weight in {"rectification": 4, "preservation": 1}.items():
        torch.testing.assert_close(code.weighted[name].detach(), weight * code.diagnostics[f"raw_{name}"])
    halves = [Step(either, parse_defense("aad", attention_loss="code"))(*(p[k : k + 2] for p in batch)) for k in (0, 2)]
    both = sum(half.diagnostics["raw_preservation"] for half in halves)
    whole = code.diagnostics["raw_preservation"]
    torch.testing.assert_close(both, whole)  # grows with the batch


def test_a_sum_and_a_mean_over_several_processes_images_are_those_of_one(monkeypatch):
    values, valid = torch.tensor([1.0, 2.0, 6.0, 4.0]), torch.tensor([True, False, True, True])
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda count: count.fill_(3))
    for over, expected in ((sum_over, 11), (mean_over, 11 / 3)):
        shares = [over(values[part], valid[part]) for part in (slice(2), slice(2, 4))]
        assert (sum(shares) / 2).item() == pytest.approx(expected)  # DDP takes the mean over the processes


def test_the_codes_gradients_are_finite_where_a_map_has_no_gradient(either, batch):
    clean, attacked, labels = batch
    step = Step(without_evidence(either, 2), parse_defense("aad", attention_loss="code"))
    terms = step(clean, attacked, torch.full_like(labels, 2))
    assert terms.diagnostics["without_area"].item() == 0  # a softmax is positive everywhere
    assert all(g.isfinite().all() for g in torch.autograd.grad(terms.loss, list(step.parameters())))
