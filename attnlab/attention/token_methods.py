"""Maps of vision transformers from their own attention: rollout, and the gradient-weighted relevance of Chefer et al.

The attention of a block is the softmax over its tokens, wherever the network computes it: in a function of its own, in
torch's fused kernel, or in nn.MultiheadAttention; the last two are computed in the open here.
"""

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnlab.arrays import Images, Labels, Logits, Maps
from attnlab.attention.activation_modules import Call, Calls, Function
from attnlab.attention.masked_inference import in_batches
from attnlab.attention.model_pass import ModelPass
from attnlab.errors import UserError
from attnlab.hooks import every_module_runs, frozen_eval, moved
from attnlab.models.classifier import Classifier
from attnlab.models.layouts import TOKENS

SOFTMAX: frozenset[Function] = frozenset({torch.softmax, Tensor.softmax, F.softmax})


def attention_rollout(seen: ModelPass) -> Maps:
    """Attention rollout (Abnar and Zuidema 2020), (N, h, w), never negative: the same for every class.

    With A the mean over the heads, each block passes (A + I) / 2 on; the map is the product over the blocks, from the
    patches to the tokens that the head reads.
    """

    def of_part(part: slice) -> Tensor:
        with torch.no_grad():
            attentions = attend(seen.classifier, seen.images[part])[1]
        flow = _identity(attentions[0])
        for attention in attentions:
            flow = (attention.mean(1) + _identity(attention)) / 2 @ flow
        return flow

    return _maps(seen, of_part)


def chefer(seen: ModelPass) -> Maps:
    """Relevance of the patches for the class (Chefer et al. 2021, ICCV, eqs. 5 and 6), (N, h, w), never negative.

    Each block adds A' R to the relevance R of token for token, first I, where A' is the mean over the heads of the
    positive part of attention times the logit's gradient by it.
    """

    def of_part(part: slice) -> Tensor:
        attentions, gradients = attentions_and_gradients(seen.classifier, seen.images[part], seen.classes[part])
        relevance = _identity(attentions[0])
        for attention, gradient in zip(attentions, gradients, strict=True):
            relevance = relevance + (attention * gradient).clamp(min=0).mean(1) @ relevance
        return relevance

    return _maps(seen, of_part)


def allows_tokens(classifier: Classifier) -> None:
    """Refuse a network that is no plain vision transformer.

    Raises:
        UserError: If its blocks do not attend from all tokens to all tokens, or its map is not at these tokens.
    """
    _tokens_read(classifier)


def attend(classifier: Classifier, images: Images) -> tuple[Logits, list[Tensor]]:
    """Logits of a pass, and the attention of its blocks, (N, heads, T, T), through which their graph runs."""
    attentions: list[Tensor] = []

    def keep(attention: Tensor) -> Tensor:
        if torch.is_grad_enabled() and not attention.requires_grad:
            attention.requires_grad_()
        attentions.append(attention)
        return attention

    def answer(call: Call) -> Any:
        if call.function is F.scaled_dot_product_attention:
            return _attention(keep, *call.arguments, **call.options)
        if call.function is F.multi_head_attention_forward:
            return _multi_head(keep, call)
        result = call.run()
        over_tokens = call.function in SOFTMAX and result.ndim == 4
        return keep(result) if over_tokens else result

    with every_module_runs(), Calls(answer):
        logits = classifier(images)
    return logits, attentions


def attentions_and_gradients(
    classifier: Classifier, images: Images, classes: Labels
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Attention of each block, and the gradient of the classes' logits by it, in the logits' precision."""
    with torch.enable_grad():
        logits, attentions = attend(classifier, images.detach())
        score = logits.gather(1, classes[:, None]).sum()
    gradients = torch.autograd.grad(score, attentions)
    return (
        [attention.detach().to(logits.dtype) for attention in attentions],
        tuple(gradient.to(logits.dtype) for gradient in gradients),
    )


def _attention(
    keep: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What F.scaled_dot_product_attention computes; in eval mode there is no dropout."""
    if is_causal or enable_gqa:
        raise UserError("expected blocks that attend to all tokens alike, got causal or grouped attention")
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return keep(scores.softmax(-1)) @ value  # type: ignore[no-any-return]


def _multi_head(keep: Any, call: Call) -> tuple[Tensor, None]:
    """What F.multi_head_attention_forward computes of tokens (T, N, E) that attend to themselves, without weights."""
    names = ("query", "key", "value", "_", "heads", "weight", "bias", "bias_k", "bias_v", "add_zero_attn", "dropout_p")
    given = dict(zip((*names, "out_weight", "out_bias"), call.arguments, strict=False)) | call.options
    asked = [given.get(name) is not None for name in ("bias_k", "bias_v", "key_padding_mask", "attn_mask")]
    tokens = given["query"]
    if given["key"] is not tokens or any([*asked, given["add_zero_attn"], given["weight"] is None, tokens.ndim != 3]):
        raise UserError("expected blocks whose tokens attend to themselves without masks, got others")
    length, count, width = tokens.shape
    parts = F.linear(tokens, given["weight"], given["bias"]).chunk(3, -1)
    query, key, value = (part.view(length, count, given["heads"], -1).permute(1, 2, 0, 3) for part in parts)
    mixed = _attention(keep, query, key, value).permute(2, 0, 1, 3).reshape(length, count, width)
    return F.linear(mixed, given["out_weight"], given["out_bias"]), None


def _maps(seen: ModelPass, relevance_of: Any) -> Maps:
    """Relevance of the patches for the tokens read, as maps: `relevance_of` gives (n, T, T) of a part of the images."""
    read = _tokens_read(seen.classifier)
    layout = _layout_of(seen.classifier)
    relevance = torch.cat(in_batches(relevance_of, len(seen.images), seen.batch_size)[0])
    rows = relevance[:, read].mean(1)  # (N, T)
    maps: Tensor = layout.spatial(rows[..., None])[:, 0]
    return maps.to(seen.logits.dtype)


def _identity(attention: Tensor) -> Tensor:
    count, _, tokens, _ = attention.shape
    return torch.eye(tokens, dtype=attention.dtype, device=attention.device).expand(count, -1, -1)


class _Read(NamedTuple):
    """What a pass of noise said of a network."""

    tokens: int
    rows: list[int]


_SEEN: WeakKeyDictionary[nn.Module, _Read] = WeakKeyDictionary()


def _layout_of(classifier: Classifier) -> Any:
    return classifier.feature_map.layout if classifier.feature_map else None


def _tokens_read(classifier: Classifier) -> list[int]:
    """Numbers of the tokens that the head reads: the class token, say, or all patches; looked up once a network.

    In the last block the logits have a gradient by the attention of these tokens alone.
    """
    if classifier.network not in _SEEN:
        images = classifier.noise()
        with frozen_eval(classifier), moved(classifier.network):
            with torch.no_grad():
                shapes = [tuple(attention.shape) for attention in attend(classifier, images)[1]]
            _check_shapes(shapes)
            classes = torch.zeros(2, dtype=torch.long, device=images.device)
            gradient = attentions_and_gradients(classifier, images, classes)[1][-1]
        rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten().tolist()
        _SEEN[classifier.network] = _Read(shapes[0][2], rows)
    read, layout = _SEEN[classifier.network], _layout_of(classifier)
    if layout is None or layout.axes != TOKENS or layout.tokens != read.tokens:
        raise UserError(
            f"expected an attention layer that gives the {read.tokens} tokens of the blocks, got "
            f"{layout or 'none'} of {classifier.layer}; name one of a block's with --layer"
        )
    return read.rows


def _check_shapes(shapes: list[tuple[int, ...]]) -> None:
    """Refuse attention that is not from all tokens to all tokens, the same ones in all blocks."""
    if not shapes:
        raise UserError(
            "expected a vision transformer for attention-rollout and chefer, got a network without attention over "
            "tokens; try grad-cam"
        )
    for shape in shapes:
        if len(shape) != 4 or shape[0] != 2 or shape[2] != shape[3] or shape[2] != shapes[0][2]:
            raise UserError(
                "expected a vision transformer whose blocks attend from all tokens to all for attention-rollout and "
                f"chefer, got attention of shapes {', '.join(map(str, dict.fromkeys(shapes)))} for 2 images (windows, "
                "a pooling head?); try grad-cam"
            )
