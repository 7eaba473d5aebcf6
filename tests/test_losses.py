"""The terms that training descends: against their papers' formulas in plain code, and by finite differences."""

import gc

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from attnlab.attention.gradcam import grad_cam
from attnlab.errors import UserError
from attnlab.models import Classifier, load_model
from attnlab.training import DEFENSES
from attnlab.training.losses import LOSSES, hide, mean_over, preservation, rectification, soft_margin
from attnlab.training.parse import parse_defense
from attnlab.training.step import Step

SIZE = (19, 23)


class Pooled(nn.Module):
    """A network with a linear head behind a global average pool, for the closed form."""

    input_size = SIZE
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    attention_layer = "second"

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, 2)
        self.second = nn.Conv2d(6, 8, 3, 2)
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(torch.tanh(self.first(x))).mean((2, 3)))


@pytest.fixture
def pooled() -> Classifier:
    torch.manual_seed(0)
    return Classifier(Pooled()).double().eval()


@pytest.fixture(params=["closed form", "generic path"])
def classifier(request, pooled, small) -> Classifier:
    """Both ways to a map; in float64, and without anything random."""
    return pooled if request.param == "closed form" else small


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Clean images, images near them, labels."""
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(4, 3, *SIZE, generator=generator, dtype=torch.float64)
    noise = torch.rand(images.shape, generator=generator, dtype=torch.float64)
    return images, (images + 0.3 * (noise - 0.5)).clamp(0, 1), torch.tensor([0, 1, 3, 4])


@pytest.fixture
def logits() -> tuple[dict[str, Tensor], Tensor]:
    """Clean and adversarial logits with a right, a wrong and a sure answer each, and labels."""
    generator = torch.Generator().manual_seed(3)
    values = {
        name: 3 * torch.randn(6, 5, generator=generator, dtype=torch.float64) for name in ("clean", "adversarial")
    }
    return values, torch.tensor([0, 1, 2, 3, 4, 0])


def terms_of(name: str, logits: dict[str, Tensor], labels: Tensor, classify=F.cross_entropy) -> dict[str, float]:
    defense = DEFENSES[name]
    terms = LOSSES[defense.loss].terms(logits, labels, classify, defense.weight)
    return {key: value.item() for key, value in terms.items()}


# ------------------------------------------------------------------ classification losses


def plain_cross_entropy(logits: Tensor, labels: Tensor) -> float:
    rows = zip(logits.softmax(1), labels, strict=True)
    return -sum(p[label].log().item() for p, label in rows) / len(labels)


def test_none_and_madry_are_cross_entropy_of_one_kind_of_images(logits):
    values, labels = logits
    assert terms_of("none", values, labels) == pytest.approx({"clean": plain_cross_entropy(values["clean"], labels)})
    expected = {"adversarial": plain_cross_entropy(values["adversarial"], labels)}
    assert terms_of("madry", values, labels) == pytest.approx(expected)


def test_alp_is_half_of_each_and_half_the_mean_squared_gap(logits):
    values, labels = logits
    gap = sum(float((a - b) ** 2) for a, b in zip(*(v.flatten() for v in values.values()), strict=True)) / 30
    halves = {name: plain_cross_entropy(value, labels) / 2 for name, value in values.items()}
    assert terms_of("alp", values, labels) == pytest.approx({**halves, "pairing": 0.5 * gap})


@pytest.mark.parametrize("name", ["stepll", "ensemble"])
def test_stepll_and_ensemble_are_the_mean_of_both_cross_entropies(logits, name):
    values, labels = logits
    halves = {kind: plain_cross_entropy(value, labels) / 2 for kind, value in values.items()}
    assert terms_of(name, values, labels) == pytest.approx(halves)


def plain_divergence(p: Tensor, q: Tensor) -> float:
    return float(sum(a * (a / b).log() for a, b in zip(p, q, strict=True)))


def test_trades_equals_its_papers_formula(logits):
    values, labels = logits
    clean, attacked = (values[kind].softmax(1) for kind in ("clean", "adversarial"))
    divergence = sum(plain_divergence(p, q) for p, q in zip(clean, attacked, strict=True)) / len(labels)
    expected = {"clean": plain_cross_entropy(values["clean"], labels), "divergence": 6 * divergence}
    assert terms_of("trades", values, labels) == pytest.approx(expected)


def test_mart_equals_its_papers_formula(logits):
    values, labels = logits
    clean, attacked = (values[kind].softmax(1) for kind in ("clean", "adversarial"))
    sums = {"adversarial": 0.0, "margin": 0.0, "divergence": 0.0}
    for p, q, label in zip(clean, attacked, labels, strict=True):
        sums["adversarial"] -= float(q[label].log())
        sums["margin"] -= float((1 - max(q[k] for k in range(5) if k != label)).log())
        sums["divergence"] += 5 * plain_divergence(p, q) * float(1 - p[label])
    assert terms_of("mart", values, labels) == pytest.approx({name: value / 6 for name, value in sums.items()})


def test_mart_stays_finite_where_a_wrong_class_is_sure():
    attacked = torch.tensor([[0.0, 300.0, 1.0]], requires_grad=True)
    terms = LOSSES["mart"].terms(
        {"clean": torch.zeros(1, 3), "adversarial": attacked}, torch.tensor([0]), F.cross_entropy, 5.0
    )
    assert terms["margin"].item() == pytest.approx(299 - 0.31326, abs=1e-3)  # -log((1 + e) / e^300)
    (gradient,) = torch.autograd.grad(sum(terms.values()), attacked)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradient_by_logits_of_both_kinds_equals_finite_differences(logits, name):
    values, labels = logits

    def value(*parts: Tensor) -> Tensor:
        terms = LOSSES[name].terms(dict(zip(LOSSES[name].reads, parts, strict=True)), labels, F.cross_entropy, 2.0)
        return sum(terms.values())

    assert torch.autograd.gradcheck(value, [values[kind].requires_grad_() for kind in LOSSES[name].reads])


def test_soft_margin_is_a_binary_cross_entropy_of_each_class(logits):
    values, labels = logits
    truth = torch.zeros(6, 5, dtype=torch.float64)
    truth[range(6), labels] = 1
    expected = F.binary_cross_entropy(values["clean"].sigmoid(), truth).item()
    assert soft_margin(values["clean"], labels).item() == pytest.approx(expected)
    assert terms_of("none", values, labels, soft_margin) == pytest.approx({"clean": expected})


# ------------------------------------------------------------------ attention terms


def plain_masked(classifier: Classifier, images: Tensor, labels: Tensor, fill: float) -> Tensor:
    """Equation 7 image by image."""
    masked = []
    for image, map_ in zip(images, grad_cam(classifier, images, labels), strict=True):
        large = F.interpolate(map_.clamp(min=0)[None, None], SIZE, mode="bilinear", align_corners=False)[0, 0]
        area = (large >= large.mean()).double()
        masked.append(image * (1 - area) + fill * area)
    return torch.stack(masked)


@pytest.mark.parametrize(("fill", "value"), [("black", 0.0), ("grey", 0.5)])
def test_attention_terms_equal_equations_8_and_9_in_plain_code(classifier, batch, fill, value):
    clean, attacked, labels = batch
    terms = Step(classifier, parse_defense("aad", alpha=1, beta=1, fill=fill))(clean, attacked, labels)
    distance = torch.zeros(4, dtype=torch.float64)
    for images in (clean, attacked):
        masked = plain_masked(classifier, images, labels, value)
        difference = classifier(images).softmax(1) - classifier(masked).softmax(1)
        distance += (difference**2).sum(1).sqrt()
    maps = [grad_cam(classifier, images, labels).clamp(min=0) for images in (clean, attacked)]
    there = torch.stack([map_.amax((1, 2)) > 0 for map_ in maps]).all(0)
    assert there.any()
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


def test_mask_passes_no_gradient(classifier, batch):
    clean, attacked, labels = (part.requires_grad_(part.is_floating_point()) for part in batch)
    step = Step(classifier, parse_defense("aad", alpha=1, beta=0))
    ours = torch.autograd.grad(step(clean, attacked, labels).weighted["rectification"], list(classifier.parameters()))
    constant = [plain_masked(classifier, images.detach(), labels, 0.0) for images in (clean, attacked)]
    distance = sum(
        (classifier(images).softmax(1) - classifier(masked).softmax(1)).norm(dim=1)
        for images, masked in zip((clean, attacked), constant, strict=True)
    )
    there = torch.stack([grad_cam(classifier, i, labels).amax((1, 2)) > 0 for i in (clean, attacked)]).all(0)
    theirs = torch.autograd.grad(-distance[there].mean(), list(classifier.parameters()))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("term", ["rectification", "preservation"])
def test_gradient_of_an_attention_term_equals_finite_differences(classifier, batch, term):
    clean, attacked, labels = (part[1:3] for part in batch)
    alpha, beta = {"rectification": (1, 0), "preservation": (0, 1)}[term]
    step = Step(classifier, parse_defense("aad", alpha=alpha, beta=beta))
    names = [name for name, _ in step.named_parameters()]

    def value(clean: Tensor, attacked: Tensor, *parameters: Tensor) -> Tensor:
        terms = functional_call(step, dict(zip(names, parameters, strict=True)), (clean, attacked, labels))
        assert terms.diagnostics["without_area"] == 0
        return terms.weighted[term]

    inputs = [part.detach().clone().requires_grad_() for part in (clean, attacked, *step.parameters())]
    gradients = torch.autograd.grad(value(*inputs), inputs[:3])
    assert all(gradient.abs().max() > 1e-4 for gradient in gradients)  # of both kinds of images, of the first weights
    assert torch.autograd.gradcheck(value, inputs, fast_mode=True, eps=1e-7, atol=1e-7, rtol=1e-4)


def test_preservation_moves_both_maps(classifier, batch):
    clean, attacked, labels = batch
    for moved in (0, 1):
        images = [clean.clone(), attacked.clone()]
        images[moved].requires_grad_()
        terms = Step(classifier, parse_defense("aad", alpha=0))(*images, labels)
        (gradient,) = torch.autograd.grad(terms.weighted["preservation"], images[moved])
        assert gradient.abs().max() > 0


def without_evidence(classifier: Classifier, class_: int) -> Classifier:
    """The same with a map of that class that is nowhere positive."""
    with torch.no_grad():
        classifier.network.last.weight[class_] = 0
    return classifier


def test_images_without_an_area_drop_out_and_are_counted(classifier, batch):
    clean, attacked, _ = batch
    labels = torch.tensor([1, 2, 1, 2])
    step = Step(without_evidence(classifier, 2), parse_defense("none+aad", alpha=1, beta=1))
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


def test_a_batch_without_any_area_has_attention_terms_of_zero_and_no_nan(classifier, batch):
    clean, attacked, labels = batch
    step = Step(without_evidence(classifier, 2), parse_defense("aad"))
    terms = step(clean, attacked, torch.full_like(labels, 2))
    assert terms.diagnostics["without_area"].item() == 1
    assert (terms.weighted["rectification"].item(), terms.weighted["preservation"].item()) == (0, 0)
    assert all(g.isfinite().all() for g in torch.autograd.grad(terms.loss, list(step.parameters())))


def test_black_images_whose_masks_change_nothing_have_finite_gradients(classifier):
    black, labels = torch.zeros(2, 3, *SIZE, dtype=torch.float64), torch.tensor([0, 1])
    step = Step(classifier, parse_defense("aad"))
    terms = step(black, black, labels)
    assert terms.diagnostics["raw_rectification"].item() == 0
    assert all(g.isfinite().all() for g in torch.autograd.grad(terms.loss, list(step.parameters())))


# ------------------------------------------------------------------ the step


@pytest.fixture
def passes(classifier) -> list[int]:
    """Images in each pass through the classifier's network."""
    counts: list[int] = []
    classifier.network.register_forward_hook(lambda _, inputs, __: counts.append(len(inputs[0])))
    return counts


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("none", {}, [4]),
        ("madry", {}, [4]),
        ("alp", {}, [8]),
        ("trades", {}, [8]),
        ("mart", {}, [8]),
        ("none+aad", {}, [8, 8]),
        ("madry+aad", {}, [8, 8]),  # 4 N forward, 8 N backward: the floor's 12
        ("alp+aad", {}, [8, 8]),
        ("madry+aad", {"alpha": 0}, [8]),
        ("madry+aad", {"beta": 0}, [8, 8]),
        ("madry+aad", {"alpha": 0, "beta": 0}, [4]),
    ],
)
def test_no_image_is_passed_through_the_network_twice(classifier, passes, batch, name, options, expected):
    Step(classifier, parse_defense(name, **options))(*batch)
    assert passes == expected


def test_a_term_that_is_switched_off_is_not_there(classifier, batch):
    def names(**options: float) -> set[str]:
        return set(Step(classifier, parse_defense("alp+aad", **options))(*batch).weighted)

    logits_alone = {"clean", "adversarial", "pairing"}
    assert names() == logits_alone | {"rectification", "preservation"}
    assert names(alpha=0) == logits_alone | {"preservation"}
    assert names(beta=0) == logits_alone | {"rectification"}
    assert names(alpha=0, beta=0) == logits_alone


@pytest.mark.parametrize("name", [*DEFENSES, *(f"{name}+aad" for name in DEFENSES)])
def test_terms_are_weighted_scalars_whose_sum_is_the_loss(classifier, batch, name):
    terms = Step(classifier, parse_defense(name))(*batch)
    assert terms.loss.item() == pytest.approx(sum(term.item() for term in terms.weighted.values()))
    assert all(term.shape == () and term.requires_grad for term in terms.weighted.values())
    assert not any(value.requires_grad for value in terms.diagnostics.values())
    assert not set(terms.weighted) & set(terms.diagnostics)  # a log may hold both
    for attention in ("rectification", "preservation"):
        if name.endswith("+aad"):
            assert terms.weighted[attention].item() == pytest.approx(
                0.01 * terms.diagnostics[f"raw_{attention}"].item()
            )


def test_a_defence_that_reads_clean_images_alone_needs_no_others(classifier, batch):
    clean, _, labels = batch
    terms = Step(classifier, DEFENSES["none"])(clean, None, labels)
    assert terms.loss.item() == pytest.approx(plain_cross_entropy(classifier(clean), labels))
    right = (classifier(clean).argmax(1) == labels).double().mean().item()
    assert terms.diagnostics == {"clean_accuracy": pytest.approx(right)}


def test_every_module_is_in_its_own_mode_and_masked_images_leave_running_statistics_alone():
    classifier = load_model("resnet8").train()
    classifier.network.norm.eval()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    images, labels = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    Step(classifier, parse_defense("aad"))(images, images.flip(3), labels)
    after = classifier.state_dict()
    assert classifier.network.stage1.norm1.training
    assert classifier.network.stage1.norm1.track_running_stats
    assert torch.equal(after["network.norm.running_mean"], before["network.norm.running_mean"])
    assert after["network.stage1.norm1.num_batches_tracked"] == before["network.stage1.norm1.num_batches_tracked"] + 1
    other = load_model("resnet8").train()
    other.network.norm.eval()
    other(torch.cat([images, images.flip(3)]))
    assert torch.equal(
        after["network.stage3.norm2.running_var"], other.state_dict()["network.stage3.norm2.running_var"]
    )


def test_a_network_that_gives_auxiliary_logits_in_train_mode_has_all_terms(pooled, batch):
    plain = pooled.network.forward
    pooled.train().network.forward = lambda x: (plain(x), None)
    assert set(Step(pooled, parse_defense("aad"))(*batch).weighted) == {"adversarial", "rectification", "preservation"}


def test_a_model_without_spatial_maps_is_refused_before_the_first_attack(classifier):
    classifier.attention_layer = None
    Step(classifier, DEFENSES["trades"])
    with pytest.raises(UserError, match="--layer"):
        Step(classifier, parse_defense("trades+aad"))


def test_maps_keep_the_logits_precision_under_autocast(scenes_batch):
    images, labels = scenes_batch
    step = Step(load_model("resnet8"), parse_defense("aad"))
    exact = step(images, images.flip(3), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = step(images, images.flip(3), labels)
    for name, value in terms.weighted.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact.weighted[name].item(), rel=0.05)


def test_thirty_steps_leave_no_tensor_behind(classifier, batch):
    step = Step(classifier, parse_defense("aad"))
    optimizer = torch.optim.SGD(step.parameters(), lr=1e-3, momentum=0.9)
    counts = []
    gc.collect()
    gc.disable()  # what a collection would have to find is a leak too
    try:
        for number in range(33):
            optimizer.zero_grad()
            step(*batch).loss.backward()
            optimizer.step()
            if number in (2, 32):
                counts.append(sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()))
    finally:
        gc.enable()
    assert counts[0] == counts[1]


# ------------------------------------------------------------------ several processes


def test_mean_over_what_is_there():
    values = torch.tensor([1.0, 2.0, 6.0, torch.nan])
    assert mean_over(values, torch.tensor([True, False, True, False])).item() == 3.5
    assert mean_over(values, torch.zeros(4, dtype=torch.bool)).item() == 0


def uneven(classifier: Classifier, batch: tuple[Tensor, ...]) -> tuple[Step, tuple[Tensor, ...]]:
    """A step and a batch of which one half has three times the areas of the other."""
    step = Step(without_evidence(classifier, 2), parse_defense("aad", alpha=1, beta=1))
    clean, attacked, _ = batch
    return step, (clean, attacked, torch.tensor([1, 1, 2, 1]))


def one_of_two(rank: int, folder: str, classifier: Classifier, batch: tuple[Tensor, ...]) -> None:
    """Half a batch under DDP; writes the gradients."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    step, batch = uneven(classifier, batch)
    wrapped = nn.parallel.DistributedDataParallel(step)
    wrapped(*(part[2 * rank : 2 * rank + 2] for part in batch)).loss.backward()
    torch.save([parameter.grad for parameter in step.parameters()], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_with_half_the_batch_each_have_the_gradient_of_one(tmp_path, small, batch):
    step, whole = uneven(small, batch)
    assert Step.forward(step, *whole).diagnostics["without_area"].item() == 0.25
    step(*whole).loss.backward()
    expected = [parameter.grad.clone() for parameter in step.parameters()]
    step.zero_grad()
    mp.spawn(one_of_two, (str(tmp_path), small, batch), nprocs=2)
    for rank in range(2):
        for mine, theirs in zip(expected, torch.load(tmp_path / f"{rank}.pt"), strict=True):
            torch.testing.assert_close(theirs, mine)
