"""Attention rollout and Chefer's relevance against numpy and loops, from attention captured another way."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from common import error_of
from explained import SEEDS, classifier_of, images_for, maps_of, state_of, tiny_vit
from torch import Tensor, nn

from attnlab.attention.token_methods import _attention, allows_tokens, attend, attention_rollout, chefer
from attnlab.compat import torchvision
from attnlab.errors import UserError
from attnlab.hooks import frozen_eval

CLASSES = torch.tensor([0, 1, 4])


def of_timm(**options):
    timm = pytest.importorskip("timm.models.vision_transformer", reason="needs the package timm")
    torch.manual_seed(6)
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2, "num_classes": 5}
    network = timm.VisionTransformer(**sizes, **options)
    nn.init.normal_(network.head.weight)
    for block in network.blocks:
        nn.init.normal_(block.attn.qkv.weight)  # so that its attention is not the same everywhere
    return classifier_of(network, (16, 16))


def of_transformers():
    transformers = pytest.importorskip("transformers", reason="needs the package transformers")
    torch.manual_seed(6)
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(**sizes, image_size=16, patch_size=4, num_labels=5)
    return classifier_of(transformers.ViTForImageClassification(config), (16, 16))


def attention_of_timm(classifier, images):
    """By hooks on what comes behind the softmax, the fused kernel off."""
    found = []
    for block in classifier.network.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _, inputs, output: found.append(output))
    classifier(images)
    return found


def attention_of_torchvision(classifier, images):
    """From nn.MultiheadAttention itself, asked for its weights."""
    found, weighed = [], {"need_weights": True, "average_attn_weights": False}
    for block in classifier.network.encoder.layers:
        block.self_attention.register_forward_pre_hook(lambda _, args, given: (args, given | weighed), with_kwargs=True)
        block.self_attention.register_forward_hook(lambda _, inputs, output: found.append(output[1]))
    classifier(images)
    return found


def attention_of_transformers(classifier, images):
    classifier.network.set_attn_implementation("eager")
    return classifier.network(classifier.normalise(images), output_attentions=True).attentions


KINDS = {
    "timm": (of_timm, attention_of_timm, slice(0, 1), 1),
    "timm without a class token": (
        lambda: of_timm(class_token=False, global_pool="avg"),
        attention_of_timm,
        slice(0, 16),
        0,
    ),
    "timm with registers": (lambda: of_timm(reg_tokens=3), attention_of_timm, slice(0, 1), 4),
    "timm with a class token and a pooled head": (
        lambda: of_timm(global_pool="avg"),
        attention_of_timm,
        slice(1, 17),
        1,
    ),
    "torchvision": (tiny_vit, attention_of_torchvision, slice(0, 1), 1),
    "transformers": (of_transformers, attention_of_transformers, slice(0, 1), 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_rollout_equals_numpy_from_attention_captured_by_other_means(kind):
    build, attention_of, read, first = KINDS[kind]
    classifier = build()
    images = images_for(classifier)
    allows_tokens(classifier)
    before = state_of(classifier)
    maps = maps_of(attention_rollout, classifier, images, CLASSES, batch_size=2)
    assert state_of(classifier) == before
    with torch.no_grad():
        attentions = [attention.numpy() for attention in attention_of(classifier, images)]
    assert len(attentions) == 2
    for number, map_ in enumerate(maps):
        flow = np.eye(attentions[0].shape[-1])
        for attention in attentions:
            mean = attention[number].mean(0) + np.eye(len(flow))
            flow = (mean / mean.sum(1, keepdims=True)) @ flow
        expected = flow[read].mean(0)[first : first + 16].reshape(4, 4)
        np.testing.assert_allclose(map_.numpy(), expected, rtol=1e-6)
        assert np.ptp(expected) > 1e-5


class Plain(nn.Module):
    """A vision transformer in a few lines: 3x2 patches and a class token, two blocks of two heads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 7, 8))
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm, self.last = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).mT
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        for block in self.blocks:
            x = block(x)
        return self.last(self.norm(x)[:, 0])


class Block(nn.Module):
    by_hand = False

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.norm2, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        nn.init.normal_(self.qkv.weight)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(self.norm1(x)).view(len(x), -1, 3, 2, 4)  # (N, T, qkv, head, width)
        if self.by_hand:
            mixed = self.mix_by_hand(heads)
        else:
            mixed = F.scaled_dot_product_attention(*heads.permute(2, 0, 3, 1, 4)).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        return x + self.down(F.gelu(self.up(self.norm2(x))))

    def mix_by_hand(self, heads: Tensor) -> Tensor:
        """One image: each token's answer, head by head, from weights that are kept as leaves of their own products."""
        self.kept, mixed = [], []
        for head in range(2):
            query, key, value = heads[0, :, :, head].unbind(1)
            exponents = torch.exp(query @ key.T / 2)
            weights = exponents / exponents.sum(1, keepdim=True)
            weights.retain_grad()
            self.kept.append(weights)
            mixed.append(weights @ value)
        return torch.cat(mixed, 1)[None]


def test_chefer_equals_its_definition_in_plain_loops(monkeypatch):
    classifier = classifier_of(Plain(), (12, 8))
    images = images_for(classifier)
    maps = maps_of(chefer, classifier, images, CLASSES, batch_size=2)
    assert maps.shape == (3, 3, 2)
    monkeypatch.setattr(Block, "by_hand", True)
    for image, class_, map_ in zip(images, CLASSES, maps, strict=True):
        classifier(image[None])[0, class_].backward()
        relevance = np.eye(7)
        for block in classifier.network.blocks:
            added = np.zeros((7, 7))
            products = [(weights.detach() * weights.grad).numpy() for weights in block.kept]
            for token in range(7):
                for other in range(7):
                    added[token, other] = sum(max(0.0, product[token, other]) for product in products) / 2
            relevance = relevance + added @ relevance
        np.testing.assert_allclose(map_.numpy(), relevance[0, 1:].reshape(3, 2), rtol=1e-6)
        assert np.ptp(relevance[0, 1:]) > 0


def test_relevance_is_of_the_class_and_rollout_of_none():
    classifier = tiny_vit()
    images = images_for(classifier)
    one, other = (torch.full((3,), class_) for class_ in (0, 3))
    assert torch.equal(*(maps_of(attention_rollout, classifier, images, classes) for classes in (one, other)))
    assert not torch.allclose(*(maps_of(chefer, classifier, images, classes) for classes in (one, other)))


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_network(kind):
    classifier = KINDS[kind][0]()
    images = images_for(classifier)
    with frozen_eval(classifier):
        logits, attentions = attend(classifier, images)
        torch.testing.assert_close(logits, classifier(images))
    tokens = attentions[0].shape[-1]
    assert [tuple(attention.shape) for attention in attentions] == 2 * [(3, 2, tokens, tokens)]
    torch.testing.assert_close(attentions[0].sum(-1), torch.ones(3, 2, tokens, dtype=torch.float64))


@pytest.mark.parametrize("method", [attention_rollout, chefer])
def test_map_of_an_image_does_not_depend_on_its_batch_and_the_model_is_given_back(method, monkeypatch):
    classifier = tiny_vit().train()
    images = images_for(classifier)
    before = state_of(classifier)
    together = maps_of(method, classifier, images, CLASSES, batch_size=64)
    alone = maps_of(method, classifier, images[1:2], CLASSES[1:2], batch_size=1, seeds=SEEDS[1:2])
    torch.testing.assert_close(together[1], alone[0])
    assert not together.requires_grad
    monkeypatch.setattr(nn.LayerNorm, "forward", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        maps_of(method, classifier, images, CLASSES)
    monkeypatch.undo()
    assert state_of(classifier) == before


def test_a_head_of_zeros_does_not_hide_which_tokens_it_reads():
    classifier = tiny_vit()
    nn.init.zeros_(classifier.network.heads.head.weight)
    maps = maps_of(attention_rollout, classifier, images_for(classifier), CLASSES)
    assert maps.isfinite().all()
    assert maps.sum() > 0


def test_a_convolutional_network_is_refused(small):
    with pytest.raises(
        UserError, match=r"expected a vision transformer .* without attention over tokens; try grad-cam"
    ):
        allows_tokens(small)


def test_attention_in_windows_is_refused():
    torch.manual_seed(0)
    swin = torchvision.models.SwinTransformer([2, 2], 8, [2, 2], [1, 2], [4, 4], num_classes=5)
    with pytest.raises(UserError, match=r"from all tokens to all .* got attention of shapes \(8, 1, 16, 16\)"):
        allows_tokens(classifier_of(swin, (16, 16)))


def test_a_layer_that_is_not_of_tokens_is_refused():
    from attnlab.models import Classifier

    classifier = Classifier(tiny_vit().network.float(), layer="conv_proj")
    with pytest.raises(
        UserError, match=r"gives the 17 tokens of the blocks, got channels-first, 4x4 cells of conv_proj"
    ):
        allows_tokens(classifier)


def test_masked_attention_is_that_of_torch():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 5, 4).unbind()
    seen = torch.tensor([[True, True, False, True, False]])
    kept: list[Tensor] = []
    for mask in (seen, torch.where(seen, 0.5, -3.0)):
        found = _attention(lambda weights: kept.append(weights) or weights, query, key, value, mask)
        torch.testing.assert_close(found, F.scaled_dot_product_attention(query, key, value, mask))
    assert [bool((weights[..., ~seen[0]] == 0).all()) for weights in kept] == [True, False]


@pytest.mark.parametrize("given", [{"is_causal": True}, {"enable_gqa": True}])
def test_attention_that_is_causal_or_grouped_is_refused(given):
    message = "expected blocks that attend to all tokens alike, got causal or grouped attention"
    tokens = torch.zeros(1, 2, 5, 4)
    assert error_of(lambda: _attention(lambda weights: weights, tokens, tokens, tokens, **given)) == message
