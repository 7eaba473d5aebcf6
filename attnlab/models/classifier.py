"""A network as the rest of attnlab sees it: pixels in, logits out, and where its attention is read."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from attnlab.arrays import Images, Logits
from attnlab.errors import UserError
from attnlab.failures import naming
from attnlab.hooks import find_layer, frozen_eval
from attnlab.models import MEMORY_FORMATS, PRECISIONS
from attnlab.models.bn_folding import ConvBN, fold_batch_norms, foldable
from attnlab.models.channels import channels_of
from attnlab.models.class_order import labels_of
from attnlab.models.feature_map import find_feature_map, prove, weights_key
from attnlab.models.fused_activations import FusedInference
from attnlab.models.layouts import FIRST, split_layer
from attnlab.models.outputs import at_least_float32, logits_of, two_classes
from attnlab.models.preprocessing import Statistic, size_of, statistics_of
from attnlab.models.trace import Trace
from attnlab.models.wrappers import unwrapped, weights_of
from attnlab.registry import loaded

NOISE = "images of noise"  # on which a network is tried


class Classifier(nn.Module):
    """A network with its normalisation inside.

    What the network says of itself in optional attributes is used: `mean` and `std` (plain numbers per channel, of
    pixels in [0, 1]; identity where absent), `input_size` (height, width), `attention_layer` (a module's name),
    `labels` (names in the order of its logits). What it may return: see `logits_of`.

    Attributes:
        network: The module, out of what `unwrapped` takes it from; takes normalised images.
        input_size: Height and width of its images in pixels.
        channels: Number of colour channels of its images.
        as_it_is: Its normalisation is the identity.
        classes: Number of logits.
        labels: Their names; empty where the network names none.
        class_order: Of the network's logits those that it gives, in its order; empty for all as they are.
        attention_layer: Module whose output Grad-CAM reads; None where there is none.
        map_shape: Height and width of its maps in cells; empty without an attention layer.
        feature_map: What was found about that layer; None without one.
        head: Name of the linear layer behind a global average pool of that output, or None. With it Grad-CAM has a
            closed form.
    """

    places: Tensor  # `class_order`, where there is one, on its device

    if TYPE_CHECKING:  # a module's call is untyped in torch

        def __call__(self, images: Images) -> Logits: ...  # noqa: D102

    def __init__(
        self,
        network: nn.Module,
        layer: str | None = None,
        *,
        mean: Statistic | None = None,
        std: Statistic | None = None,
        input_size: int | Sequence[int] | None = None,
        channels: int | None = None,
    ) -> None:
        """Wrap the network and find its attention layer with one forward pass of noise.

        Args:
            layer: Module that Grad-CAM reads, in place of the one found by itself.
            mean: Of pixels in [0, 1], one or one a channel, in place of what the network says; together with `std`.
            std: Likewise.
            input_size: (height, width) of its images in pixels, in place of what the network says, or 224.
            channels: Number of their channels, where no convolution of the network says it, or to say that grey images
                are meant for it as colour ones (3), colour ones as grey (1).

        Raises:
            UserError: If `layer` is no module of the network or no spatial map comes out of it, the network returns no
                logits, or its normalisation, size, channels or weights cannot be meant; see `statistics_of`, `size_of`,
                `channels_of`, `unwrapped`.
        """
        super().__init__()
        self.network = network = unwrapped(network)
        said, self.input_size = size_of(network, input_size)
        self.channels = channels_of(network, self.input_size, said, channels)
        device = next((tensor.device for _, tensor in weights_of(network)), torch.device("cpu"))
        means, stds = statistics_of(network, self.channels, mean, std)
        #: what the user stated of its images, for the manifest and for checkpoints
        self.stated: dict[str, Any] = {} if mean is None else {"mean": list(means), "std": list(stds)}
        self.stated |= {} if input_size is None else {"input_size": list(self.input_size)}
        self.stated |= {} if channels is None else {"channels": channels}
        self.as_it_is = set(means) == {0.0} and set(stds) == {1.0}
        for name, values in (("mean", means), ("std", stds)):
            self.register_buffer(name, torch.tensor(values, device=device).view(1, -1, 1, 1), persistent=False)
        self.memory_format = torch.contiguous_format
        self._placed: tuple[str, str] | None = None  # SHA-256 of the weights before `place` and after
        self.folded = 0
        self.code = ""  # SHA-256 of the file that builds it, of a user's own
        self._inference: Callable[..., Logits] = FusedInference()  # that makes the passes of `infer`
        self.class_order: tuple[int, ...] = ()
        self._outputs = 0  # logits of the network; not known yet
        images = self.noise()
        with torch.no_grad(), frozen_eval(self):
            layer = layer or getattr(network, "attention_layer", None)
            named = find_layer(network, split_layer(network, layer)[0]) if layer else None
            trace = Trace.of(network, lambda: self(images), self.input_size, named)
            self.classes: int = trace.logits.shape[1]
            self._outputs = self.classes
            self.labels = labels_of(network, self.classes)
            self.feature_map = read = find_feature_map(network, self, images, trace, layer)
        self.attention_layer = read.layer if read else None
        self.map_shape: tuple[int, ...] = read.layout.grid if read else ()
        self.head = read.head if read else None
        self._proven = weights_key(network)
        self._norms: list[tuple[str, str]] | None = trace.norms  # of the weights that are proven
        self._doubts = read.doubts if read else ()

    def forward(self, images: Images) -> Logits:
        """Logits of images, pixels in [0, 1], (N, C, H, W): (N, K), float32 (float64 from a float64 network)."""
        return self.logits(self.normalise(images))

    def normalise(self, images: Images) -> Tensor:
        """Normalise images pixel by pixel, (N, C, H, W), in the precision and memory format that the network takes."""
        # a copy in any case, as the network may work in place
        images = images.clone() if self.as_it_is else (images - self.mean).div_(self.std)  # type: ignore[operator, arg-type]
        floats = (parameter.dtype for parameter in self.network.parameters() if parameter.is_floating_point())
        return images.to(next(floats, images.dtype), memory_format=self.memory_format)

    def logits(self, normalised: Tensor, rows: int | None = None) -> Logits:
        """Logits of images that are normalised already, (N, K); as many as `rows` where a hook multiplies images."""
        logits = logits_of(self.network(normalised), len(normalised) if rows is None else rows)
        # in the images' precision, whatever the network computes its last layer in
        logits = logits.to(torch.promote_types(normalised.dtype, torch.float32))
        if self._outputs not in (0, logits.shape[1]):
            raise UserError(
                f"expected {self._outputs} logits of each image, as the network returned at first, got "
                f"{logits.shape[1]}: its classes must not depend on its images"
            )
        return logits[:, self.places] if self.class_order else logits

    def in_order(self, indices: Sequence[int]) -> "Classifier":
        """A classifier of the same network, whose logit i is this one's logit `indices[i]`; it may leave logits out."""
        other = copy(self)
        other.class_order = tuple((self.class_order or range(self.classes))[index] for index in indices)
        other.labels = tuple(self.labels[index] for index in indices) if self.labels else ()
        other.classes, other._inference = len(indices), FusedInference()
        other._modules, other._buffers = dict(self._modules), dict(self._buffers)
        other._non_persistent_buffers_set = set(self._non_persistent_buffers_set)
        other.register_buffer("places", torch.tensor(other.class_order, device=self.device), persistent=False)
        return other

    def duplicate(self) -> "Classifier":
        """A classifier whose weights can be changed without a change of this one's."""
        other = copy(self)
        other._modules, other._inference = {"network": deepcopy(self.network)}, FusedInference()
        other._buffers = {name: None if value is None else value.clone() for name, value in self._buffers.items()}
        return other

    def infer(self, normalised: Tensor) -> Logits:
        """The same, faster, for passes that are neither differentiated nor hooked; see `FusedInference`."""
        with torch.no_grad():
            return self._inference(self, self.logits, lambda: self.normalise(self.noise()), normalised)

    def compile_inference(self) -> None:
        """Let torch.compile make the passes of `infer`, with the weights of now as constants, until it is placed again.

        For one or two classifiers a process: torch limits how many graphs it makes of the same code.
        """
        from torch._inductor import config  # takes seconds

        frozen = config.patch(freezing=True)  # torch looks at it when it traces, within the first call
        compiled = frozen(torch.compile(self.logits))
        self._inference = lambda *given: compiled(given[-1])  # of what `infer` gives, the images

    @property
    def device(self) -> torch.device:
        """Device of its parameters."""
        return self.mean.device  # type: ignore[return-value]

    def describe(self) -> dict[str, Any]:
        """Properties that decide its results, for the manifest; how its maps lie where that is not (N, C, h, w)."""
        layout = self.feature_map.layout if self.feature_map else None
        return {
            "sha256": self.sha256,
            "input_size": list(self.input_size),
            "classes": self.classes,
            "layer": self.layer,
            "head": self.head,
            "map_shape": list(self.map_shape),
            "folded_batch_norms": self.folded,
            **self.stated,
            **({"class_order": list(self.class_order), "labels": list(self.labels)} if self.class_order else {}),
            **({"code": self.code} if self.code else {}),
            **({"map_axes": str(layout)} if layout and layout.axes != FIRST else {}),
        }

    @property
    def layer(self) -> str | None:
        """Text with which `--layer` reads the same map: the layer, and how it is read where the user said so."""
        read = self.feature_map
        return read.name if read and read.layer == self.attention_layer else self.attention_layer

    def spatial(self, values: Tensor) -> Tensor:
        """The attention layer's output as it was captured, or a gradient by it, as (N, C, h, w)."""
        return self.feature_map.layout.spatial(values) if self.feature_map else values

    def prove_head(self) -> None:
        """Drop the closed form of its maps if weights or modules have changed since it was proven, and it fails now.

        Nothing is computed where nothing changed, nor in train mode, where weights change with every step.
        """
        read = self.feature_map
        if self.head is None or read is None or self.training or torch.compiler.is_compiling():
            return
        now = weights_key(self.network)
        if now != self._proven:
            images = self.noise()

            def run() -> Logits:
                return logits_of(self.network(self.normalise(images)), len(images))

            with frozen_eval(self):
                if not prove(self.network, run, read.layer, [(read.layout, self.head)]):
                    self.head = None
            self._proven, self._norms = now, None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Classifier":
        """Cast or move all tensors, as `to` and `double` do: the closed form stays as proven as it was."""
        unchanged = weights_key(self.network) == self._proven
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if unchanged:
            self._proven = weights_key(self.network)
        return self

    def warn_of_maps(self) -> None:
        """Warn, once, of what a reader of its maps should know."""
        doubts, self._doubts = self._doubts, ()
        for doubt in doubts:
            warnings.warn(doubt, stacklevel=2)

    def head_weight(self) -> Tensor:
        """Weight of the linear head, (K, C); only where `head` is not None."""
        assert self.head is not None
        weight = find_layer(self.network, self.head).weight
        assert isinstance(weight, Tensor)
        weights = two_classes(at_least_float32(weight).T).T
        return weights[self.places] if self.class_order else weights

    def place(
        self, device: torch.device | str, precision: str = "fp32", memory_format: str = "channels-last"
    ) -> "Classifier":
        """Move to a device for inference, in a precision of PRECISIONS and a memory format of MEMORY_FORMATS.

        The network itself is changed: cast, and in the format "folded" without the batch norms that could be folded.
        """
        with naming(NOISE):
            self.prove_head()
        came, self._inference = self.sha256, FusedInference()
        with warnings.catch_warnings():  # torch 2.9 announces another way to set them
            warnings.filterwarnings("ignore", message="Please use the new API settings")
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.memory_format = loaded(MEMORY_FORMATS[memory_format])
        if memory_format == "folded":
            with naming(NOISE):
                pairs = self.foldable()
            fold_batch_norms(self.network.eval().cpu().double(), pairs)  # rounding is left to the cast below
            self.folded += len(pairs)
        self.network.to(dtype=loaded(PRECISIONS[precision]), memory_format=self.memory_format)  # type: ignore[call-overload]
        self.to(device)
        self._placed = (came, self.fingerprint())
        self._proven, self._norms = weights_key(self.network), None
        return self

    def foldable(self) -> list[ConvBN]:
        """The batch norms that `models.fold` can fold without a change of logits or maps."""
        norms = self._norms if weights_key(self.network) == self._proven else None
        with frozen_eval(self):
            return foldable(self.network, lambda: self(self.noise()), self.attention_layer, norms)

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

    def noise(self, count: int = 2) -> Images:
        """Images of noise of the network's size, the same each time."""
        draw = torch.Generator().manual_seed(0)
        return torch.rand(count, self.channels, *self.input_size, generator=draw).to(self.device)
