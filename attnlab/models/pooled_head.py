"""The closed form of Grad-CAM behind a global average pool: found in one pass, proven for all weights in another."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnlab.arrays import Logits
from attnlab.hooks import capture, moved
from attnlab.models.layouts import Layout
from attnlab.models.outputs import two_classes
from attnlab.models.trace import close


def closed_forms(network: nn.Module, layouts: list[Layout], output: Tensor, logits: Logits) -> list[tuple[Layout, str]]:
    """Layouts of an output and linear layers for which logits = linear(mean of the map's cells) holds in one pass."""
    forms = []
    rows = (logits.shape[1], 1) if logits.shape[1] == 2 else (logits.shape[1],)  # one logit stands for two classes
    for layout in layouts:
        pooled = layout.spatial(output).mean((2, 3))
        for name, module in network.named_modules():
            if isinstance(module, nn.Linear) and module.weight.shape in [(row, pooled.shape[1]) for row in rows]:
                made = two_classes(F.linear(pooled.to(module.weight.dtype), module.weight, module.bias))
                if close(made.to(logits.dtype), logits, output.dtype):
                    forms.append((layout, name))
    return forms


def prove(
    network: nn.Module, run: Callable[[], Logits], layer: str, forms: list[tuple[Layout, str]]
) -> list[tuple[Layout, str]]:
    """The closed forms that hold whatever the network's weights and activations are.

    One more pass with moved weights, in which each activation is multiplied by another number from 0 to 200: neither a
    gate or a head of zeros nor a bend between pool and logits that small activations do not reach proves anything.
    """
    if not forms:
        return []
    draw = torch.Generator().manual_seed(1)

    def scaled(output: Tensor) -> Tensor:
        return output * (200 * torch.rand(output.shape, generator=draw)).to(output)

    with torch.no_grad(), moved(network), capture(network, layer, change=scaled) as outputs:
        logits = run()
        holding = closed_forms(network, [layout for layout, _ in forms], outputs[-1], logits)
    return [form for form in forms if form in holding]


def weights_key(network: nn.Module) -> int:
    """A number that changes when a parameter or a module of the network does; it reads no values."""
    versions = [(id(weight), 0 if weight.is_inference() else weight._version) for weight in network.parameters()]
    return hash((tuple(versions), tuple(map(id, network.modules()))))
