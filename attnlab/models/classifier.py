"""A network as the rest of attnlab sees it: pixels in, logits out, and where its attention is read."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnlab.errors import UserError
from attnlab.hooks import borrowed, capture, find_layer, trace
from attnlab.models.fold import Pair, fold_batch_norms, foldable
from attnlab.models.outputs import at_least_float32, logits_of, two_classes
from attnlab.models.preprocessing import Statistic, size_of, statistics_of
from attnlab.models.wrappers import unwrapped, weights_of

PRECISIONS = {"fp64": torch.float64, "fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
LAYOUTS = {
    "channels-last": torch.channels_last,
    "folded": torch.channels_last,  # and batch norms folded into the convolutions before them
    "contiguous": torch.contiguous_format,
}


class Classifier(nn.Module):
    """A network with its normalisation inside.

    What the network says of itself in optional attributes is used: `mean` and `std` (plain numbers per channel, of
    pixels in [0, 1]; identity where absent), `input_size` (height, width), `attention_layer` (a module's name). What it
    may return: see `logits_of`.

    Attributes:
        network: The module, out of what `unwrapped` takes it from; takes normalised images.
        input_size: Height and width of its images in pixels.
        channels: Number of colour channels of its images.
        as_it_is: Its normalisation is the identity.
        classes: Number of logits.
        attention_layer: Module whose output Grad-CAM reads; None where none was found.
        map_shape: Height and width of its maps in cells; empty without an attention layer.
        head: Name of the linear layer behind a global average pool of that output, or None. With it Grad-CAM has a
            closed form.
    """

    def __init__(
        self,
        network: nn.Module,
        layer: str | None = None,
        *,
        mean: Statistic | None = None,
        std: Statistic | None = None,
    ) -> None:
        """Wrap the network and find its attention layer with one forward pass of noise.

        Args:
            network: Any that maps images to logits.
            layer: Module that Grad-CAM reads, in place of the one found by itself.
            mean: Of pixels in [0, 1], one or one a channel, in place of what the network says; together with `std`.
            std: Likewise.

        Raises:
            UserError: If `layer` is no module of the network or no spatial map comes out of it, the network returns no
                logits, or its normalisation, size or weights cannot be meant; see `statistics_of`, `size_of`,
                `unwrapped`.
        """
        super().__init__()
        self.network = network = unwrapped(network)
        said, self.input_size = size_of(network)
        self.channels = _input_channels(network, said)
        device = next((tensor.device for _, tensor in weights_of(network)), torch.device("cpu"))
        means, stds = statistics_of(network, self.channels, mean, std)
        #: the normalisation that the user stated, for the manifest and for checkpoints
        self.stated = {} if mean is None else {"mean": list(means), "std": list(stds)}
        self.as_it_is = set(means) == {0.0} and set(stds) == {1.0}
        for name, values in (("mean", means), ("std", stds)):
            self.register_buffer(name, torch.tensor(values, device=device).view(1, -1, 1, 1), persistent=False)
        self.layout = torch.contiguous_format
        self._placed: tuple[str, str] | None = None  # SHA-256 of the weights before `place` and after
        self.folded = 0
        self.code = ""  # SHA-256 of the file that builds it, of a user's own
        self._compiled: Callable[[Tensor], Tensor] | None = None
        images = self._noise()
        with torch.no_grad(), borrowed(self):
            logits = self(images)
            self.classes: int = logits.shape[1]
            layer = layer or getattr(network, "attention_layer", None)
            self.attention_layer = layer or _last_feature_map(network, self.normalise(images), self.classes)
            self.map_shape: tuple[int, ...] = ()
            self.head = self._pooled_head(images) if self.attention_layer else None

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images.

        Args:
            images: Pixels in [0, 1], (N, C, H, W).

        Returns:
            Logits, (N, K), float32 (float64 from a float64 network).
        """
        return self.logits(self.normalise(images))

    def normalise(self, images: Tensor) -> Tensor:
        """What the network takes: the images normalised pixel by pixel, in its precision and layout, (N, C, H, W)."""
        # a copy in any case, as the network may work in place
        images = images.clone() if self.as_it_is else (images - self.mean).div_(self.std)  # type: ignore[operator, arg-type]
        floats = (parameter.dtype for parameter in self.network.parameters() if parameter.is_floating_point())
        return images.to(next(floats, images.dtype), memory_format=self.layout)

    def logits(self, normalised: Tensor) -> Tensor:
        """Logits of images that are normalised already, (N, K)."""
        return logits_of(self.network(normalised), len(normalised))

    def infer(self, normalised: Tensor) -> Tensor:
        """The same for passes that nobody differentiates or looks into: after `compile_inference` compiled ones."""
        with torch.no_grad():
            return (self._compiled or self.logits)(normalised)

    def compile_inference(self) -> None:
        """Let torch.compile make the passes of `infer`, with the weights of now as constants, until it is placed again.

        For one or two classifiers a process: torch limits how many graphs it makes of the same code.
        """
        from torch._inductor import config  # takes seconds

        frozen = config.patch(freezing=True)  # torch looks at it when it traces, within the first call
        self._compiled = frozen(torch.compile(self.logits))

    @property
    def device(self) -> torch.device:
        """Where images have to be."""
        return self.mean.device  # type: ignore[return-value]

    def describe(self) -> dict[str, Any]:
        """What decides its results, for the manifest."""
        return {
            "sha256": self.sha256,
            "input_size": list(self.input_size),
            "classes": self.classes,
            "layer": self.attention_layer,
            "head": self.head,
            "map_shape": list(self.map_shape),
            "folded_batch_norms": self.folded,
            **self.stated,
        } | ({"code": self.code} if self.code else {})

    def head_weight(self) -> Tensor:
        """Weight of the linear head, (K, C); only where `head` is not None."""
        assert self.head is not None
        weight = find_layer(self.network, self.head).weight
        assert isinstance(weight, Tensor)
        return two_classes(at_least_float32(weight).T).T

    def place(self, device: torch.device | str, precision: str = "fp32", layout: str = "channels-last") -> "Classifier":
        """Move to a device for inference, in a precision of PRECISIONS and a memory layout of LAYOUTS.

        The network itself is changed: cast, and in the layout "folded" without the batch norms that could be folded.
        """
        came, self._compiled = self.sha256, None
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.layout = LAYOUTS[layout]
        if layout == "folded":
            pairs = self.foldable()
            fold_batch_norms(self.network.eval(), pairs)
            self.folded += len(pairs)
        self.network.to(dtype=PRECISIONS[precision], memory_format=self.layout)  # type: ignore[call-overload]
        self.to(device)
        self._placed = came, self.fingerprint()
        return self

    def foldable(self) -> list[Pair]:
        """The batch norms that `models.fold` can fold without a change of logits or maps."""
        with borrowed(self):
            return foldable(self.network, lambda: self(self._noise()), self.attention_layer)

    @property
    def sha256(self) -> str:
        """Fingerprint of the weights as they came to `place`; if they were changed since, of those there are now."""
        now = self.fingerprint()
        return self._placed[0] if self._placed and self._placed[1] == now else now

    def fingerprint(self) -> str:
        """SHA-256 of all weights and buffers, by name."""
        digest = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def _noise(self) -> Tensor:
        """Two images of noise, the same each time."""
        draw = torch.Generator().manual_seed(0)
        return torch.rand(2, self.channels, *self.input_size, generator=draw).to(self.device)

    def _pooled_head(self, images: Tensor) -> str | None:
        """The linear layer for which logits = linear(mean of the attention layer's output) holds, if there is one."""
        assert self.attention_layer is not None
        with capture(self.network, self.attention_layer) as outputs:
            logits = self(images)
        if not outputs:
            raise UserError(f"layer {self.attention_layer!r} does not run in a forward pass; name another with --layer")
        output = outputs[-1]  # of a module that runs several times the last, as everywhere
        if output.ndim != 4:
            raise UserError(
                f"expected a layer whose output is a spatial map (N, C, h, w), got {self.attention_layer!r} of "
                f"shape {tuple(output.shape)}; name another with --layer"
            )
        self.map_shape = tuple(output.shape[2:])
        pooled = output.mean((2, 3))
        for name, module in self.network.named_modules():
            # one logit stands for two classes
            rows = (self.classes, 1) if self.classes == 2 else (self.classes,)
            if isinstance(module, nn.Linear) and module.weight.shape in [(row, pooled.shape[1]) for row in rows]:
                difference = (two_classes(F.linear(pooled, module.weight, module.bias)) - logits).abs().max()
                if difference <= 1e-4 * logits.abs().max():
                    return str(name)
        return None


def _input_channels(network: nn.Module, said: int | None) -> int:
    """Colour channels of a network's images: what its first convolution takes, else what it says, else 3."""
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    first = next(convolutions, None)
    found = first.in_channels if first else said or 3
    if said and said != found:
        raise UserError(
            f"expected input_size of the network as (channels, height, width) with {found} channels, as its first "
            f"convolution takes, got {said}"
        )
    return found


def _last_feature_map(network: nn.Module, images: Tensor, classes: int) -> str | None:
    """Name of the module that gives the last feature map before the pool.

    That is the last module to finish whose output is spatial, (N, C, h, w) with h, w > 1. Pools and dropout are passed
    over, and so are maps with one channel per class: those are a convolutional head (SqueezeNet), not features. None
    where a sequence of tokens (N, T, D) follows: a vision transformer's only spatial map is its patch embedding.
    """
    found: str | None = None
    for output in trace(network, images):
        if output.kind.startswith(("Dropout", "AdaptiveAvgPool", "AvgPool")):
            continue
        if len(output.shape) == 4 and min(output.shape[2:]) > 1 and output.shape[1] != classes:
            found = output.module
        elif len(output.shape) == 3 and output.shape[1] > 1:
            found = None
    return found
