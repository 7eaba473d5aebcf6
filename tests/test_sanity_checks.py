"""Signs of masked gradients: raised by models and figures that have them, and by no others."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attnlab.attacks import Attack
from attnlab.attacks.output_checks import check_outputs
from attnlab.attacks.pgd import perturb
from attnlab.attacks.sanity_checks import check_accuracies, check_maps, check_model
from attnlab.errors import UserError
from attnlab.models import Classifier

EPS = 8 / 255


class Convolution(nn.Module):
    """Pooled linear features of one convolution, and whatever a test puts behind them."""

    input_size = (16, 16)

    def __init__(self, behind=lambda logits: logits, before=lambda images: images):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)
        self.behind, self.before = behind, before

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.conv(self.before(images))).relu()
        return self.behind(30 * self.head(features.mean((2, 3))))


@pytest.fixture
def batch():
    return torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def found_in(network, images):
    classifier = Classifier(network).eval()
    with torch.no_grad():
        labels = classifier(images).argmax(1)
    return check_model(classifier, images, labels, EPS)


def test_the_built_in_model_raises_nothing(resnet8, scenes_batch):
    assert check_model(resnet8, *scenes_batch, EPS) == []


def test_probabilities_instead_of_logits_are_told(batch):
    (message, *_) = found_in(Convolution(behind=lambda logits: (logits / 30).softmax(1)), batch)
    assert message.startswith("the outputs are probabilities (all are at least 0 and sum to 1.000)")


def test_a_step_without_gradient_is_told_with_the_number_of_images(batch):
    message = " ".join(found_in(Convolution(before=lambda images: (images * 255).round() / 255), batch))
    assert "the gradient of the cross-entropy is zero at 12 of 12 clean images" in message
    assert "an eps that allows any image does not fool the model: of 12 images right under 10 steps" in message


def test_outputs_without_a_graph_are_told(batch):
    network = Convolution(behind=lambda logits: logits.detach())
    assert found_in(network, batch) == ["the outputs have no gradient: no attack that climbs one can be made"]
    with pytest.raises(UserError, match="outputs have no gradient by its images"):
        perturb(Classifier(network).eval(), batch, torch.zeros(12, dtype=torch.long), Attack())


def test_a_random_model_is_told(batch):
    message = found_in(Convolution(behind=lambda logits: logits + 10 * torch.rand_like(logits)), batch)
    assert any(sign.startswith("3 passes of the same images differ by up to") for sign in message)


@pytest.mark.parametrize("sigma", [3e-3, 1e-4])
@pytest.mark.parametrize("where", ["before", "behind"])
def test_noise_too_weak_to_see_in_a_logit_is_told(batch, sigma, where):
    """AutoAttack's own check finds .003: it compares normalised logits of several passes."""
    message = found_in(Convolution(**{where: lambda values: values + sigma * torch.randn_like(values)}), batch)
    assert any("passes of the same images differ by up to" in sign for sign in message)


def passes_of(network, images, **how):
    """Sizes of the batches that the network meets under `check_outputs`, and what is found."""
    classifier, sizes = Classifier(network).eval(), []
    with torch.no_grad():
        labels = classifier(images).argmax(1)
    network.register_forward_pre_hook(lambda _network, inputs: sizes.append(len(inputs[0])))
    return check_outputs(classifier, images, labels, **how), sizes


@pytest.mark.parametrize("gradients", [True, False])
def test_outputs_are_checked_in_three_passes_and_one_of_an_image_alone(batch, gradients):
    assert passes_of(Convolution(), batch, gradients=gradients) == ([], [4, 4, 4, 1])


def test_a_model_whose_differentiated_passes_take_other_kernels_is_not_random(batch):
    network = Convolution(behind=lambda logits: logits * (1.001 if torch.is_grad_enabled() else 1))
    assert passes_of(network, batch) == ([], [4, 4, 4, 4, 1])


def test_a_model_that_is_random_where_gradients_are_taken_alone_is_told(batch):
    drawn = lambda logits: logits + torch.randn_like(logits) if torch.is_grad_enabled() else logits  # noqa: E731
    found, sizes = passes_of(Convolution(behind=drawn), batch)
    assert "3 passes of the same images differ" in found[0]
    assert sizes == [4, 4, 4, 4]


def test_a_random_models_later_draws_are_as_if_nobody_had_looked(batch):
    network = Convolution(behind=lambda logits: logits + torch.rand_like(logits))
    classifier = Classifier(network).eval()
    torch.manual_seed(0)
    expected = classifier(batch)
    torch.manual_seed(0)
    check_outputs(classifier, batch, torch.zeros(12, dtype=torch.long))
    assert torch.equal(classifier(batch), expected)


def test_a_sigmoid_is_told_and_small_logits_of_a_fresh_network_are_not(batch):
    (message, *_) = found_in(Convolution(behind=lambda logits: (logits / 30).sigmoid()), batch)
    assert message.startswith("the outputs look like probabilities (all are from ")
    assert "return what goes into the sigmoid" in message
    fresh = Convolution(behind=lambda logits: (logits / 100).abs())
    assert not any("probabilities" in sign for sign in found_in(fresh, batch))


def test_a_norm_without_statistics_is_told(batch):
    network = Convolution()
    network.norm = nn.BatchNorm2d(8, track_running_stats=False)
    assert any("when it is alone in its batch" in sign for sign in found_in(network, batch))


def test_a_network_that_normalises_its_normalised_images_is_told(batch):
    twice = Convolution(before=lambda images: (images - 0.5) / 0.25)
    assert not any("once more" in sign for sign in found_in(twice, batch))
    twice.mean, twice.std = 0.5, 0.25
    (message,) = [sign for sign in found_in(twice, batch) if "once more" in sign]
    assert "the network scales them by 4 once more before its first convolution" in message
    to_minus_one = Convolution(before=lambda images: images * 0.458 - 0.03)  # as Inception's transform_input
    to_minus_one.mean, to_minus_one.std = 0.485, 0.229
    assert not any("once more" in sign for sign in found_in(to_minus_one, batch))


def test_batch_norm_in_train_mode_is_told(batch):
    class Stubborn(Convolution):
        def forward(self, images):
            self.norm.train()
            return super().forward(images)

    assert any("a batch norm works in train mode" in sign for sign in found_in(Stubborn(), batch))


def test_the_model_is_given_back_as_it_was(batch):
    classifier = Classifier(Convolution()).train()
    check_model(classifier, batch, torch.zeros(12, dtype=torch.long), EPS)
    assert classifier.network.norm.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in classifier.parameters())


def held(**counts):
    return {name: np.arange(100) < count for name, count in counts.items()}


ATTACKS = {
    "fgsm": Attack(),
    "pgd10": Attack(steps=10, step_size=0.01, random_start=True),
    "pgd40": Attack(steps=40, step_size=0.01, random_start=True),
    "cw10": Attack("margin", steps=10),
}


def test_figures_in_their_usual_order_raise_nothing():
    assert check_accuracies(ATTACKS, ["square"], held(fgsm=60, pgd10=40, pgd40=38, cw10=41, square=55)) == []


def test_differences_that_chance_explains_raise_nothing():
    assert check_accuracies(ATTACKS, [], held(fgsm=38, pgd10=40, pgd40=42, cw10=41)) == []


def test_a_single_step_that_beats_many_is_told_with_both_figures():
    message = check_accuracies(ATTACKS, [], held(fgsm=20, pgd10=40, pgd40=38, cw10=41))
    assert message[0] == "a single step beats many: 20.00 % right under fgsm, 40.00 % under pgd10, 100 images"
    assert len(message) == 2


def test_more_steps_that_do_not_help_are_told():
    (message,) = check_accuracies(ATTACKS, [], held(fgsm=70, pgd10=40, pgd40=60, cw10=41))
    assert message == "more steps do not lower the accuracy: 40.00 % right under pgd10, 60.00 % under pgd40, 100 images"


def test_an_attack_without_gradients_that_beats_all_others_is_told():
    (message,) = check_accuracies(ATTACKS, ["square"], held(fgsm=70, pgd10=40, pgd40=38, cw10=41, square=10))
    assert message.startswith(
        "an attack without gradients beats those that have them: 10.00 % right under square, 38.00 %"
    )
    assert message.endswith("28 fall to square alone and 0 to pgd40 alone, exact McNemar p = 7.45e-09")  # 2 / 2 ** 28


@pytest.mark.parametrize(("alone", "p", "weak"), [(5, "0.0625", True), (6, "0.0312", False)])  # 2 / 2 ** alone
def test_an_attack_without_gradients_that_does_better_is_told_with_its_p_value_however_weak(alone, p, weak):
    right = np.arange(200) >= 40
    better = right & (np.arange(200) >= 40 + alone)
    (message,) = check_accuracies({"pgd10": ATTACKS["pgd10"]}, ["square"], {"pgd10": right, "square": better})
    assert message == (
        f"an attack without gradients beats those that have them: {(160 - alone) / 2:.2f} % right under square, "
        f"80.00 % under pgd10, 200 images; {alone} fall to square alone and 0 to pgd10 alone, exact McNemar p = {p}"
        + (": weak evidence, more images or queries would decide" if weak else "")
    )


ON_MAPS = {
    "explain5": Attack("move-map", steps=5, distance="top-k"),
    "explain20": Attack("move-map", steps=20, distance="top-k"),
    "keep-map5": Attack("keep-map", steps=5, distance="l2"),
}


def moved(**distances):
    return {name: np.full(100, distance) for name, distance in distances.items()}


def test_attacks_on_maps_in_their_usual_order_raise_nothing():
    kept, distances = held(**{"explain5": 100, "explain20": 100, "keep-map5": 3}), moved(explain5=0.3, explain20=0.5)
    assert check_maps(ON_MAPS, kept, distances | moved(**{"keep-map5": 0.1})) == []


def test_an_attack_that_loses_what_it_holds_stands_still_or_goes_back_is_told():
    kept, distances = held(explain5=98, explain20=100), moved(explain5=0.3, explain20=0.0)
    distances["explain20"][:3] = 0.5
    lost, still, back = check_maps({name: ON_MAPS[name] for name in kept}, kept, distances)
    assert lost.startswith("explain5 lost the prediction of 2 of 100 images, which it holds")
    assert still.startswith("explain20 moved no map of 97 of 100 images: the maps' gradient vanishes")
    assert back == "more steps move the map less: explain20 than explain5 for 97 images"
