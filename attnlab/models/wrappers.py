"""Networks inside wrappers, and weights that attnlab cannot work with: taken out, or refused in one line."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from attnlab.errors import UserError

#: what a network may say of itself, see `Classifier`
ATTRIBUTES = ("mean", "std", "input_size", "attention_layer", "normalises_itself", "labels")


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside DataParallel, DistributedDataParallel, torch.compile's wrapper or AveragedModel.

    What was said of the network on a wrapper (ATTRIBUTES) is said on the network itself. Scripted and quantised
    networks are refused, and weights that are sparse, without values or on several devices.
    """
    while (inner := _inner(network)) is not None:
        for name in ATTRIBUTES:
            if name in vars(network):
                setattr(inner, name, vars(network)[name])
        network = inner
    _check_python(network)
    _check_weights(network)
    return network


def _inner(network: nn.Module) -> nn.Module | None:
    """Network that a wrapper holds; None for a network."""
    kinds = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)
    if isinstance(network, kinds):
        inner: nn.Module = network.module
        return inner
    # torch.compile's, by name: its import takes a second
    return getattr(network, "_orig_mod", None) if type(network).__name__ == "OptimizedModule" else None


def _check_python(network: nn.Module) -> None:
    """Refuse modules that run no Python, so that no hook of a layer is called."""
    for name, module in network.named_modules():
        where = f"its module {name!r}" if name else "it"
        exported = type(module).__name__ == "GraphModule" and "eval" in vars(module)
        if isinstance(module, torch.jit.ScriptModule) or exported:
            maker = "torch.export" if exported else "torch.jit"
            raise UserError(
                f"expected a network of Python modules, but {where} was made by {maker}: no hook runs inside, and "
                "attention is read by hooks; build the network itself and load its state dict with --weights"
            )
        if ".quantized" in type(module).__module__:
            raise UserError(
                f"expected a network of floating-point weights, but {where} is quantised ({type(module).__name__}) and "
                "has no gradient; name the network as it was before quantisation"
            )


def _check_weights(network: nn.Module) -> None:
    """Refuse weights that are sparse, quantised, without values, or not all on one device."""
    unshaped = next((name for name, parameter in network.named_parameters() if is_lazy(parameter)), None)
    if unshaped is not None:
        raise UserError(
            f"expected weights with shapes, but {unshaped} is lazy; pass a batch through the network where it is built"
        )
    devices: dict[torch.device, str] = {}
    for name, tensor in weights_of(network):
        if tensor.is_quantized or tensor.layout is not torch.strided:
            kind = "quantised" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
            raise UserError(f"expected dense floating-point weights, but {name} is {kind}; make it dense (.to_dense())")
        devices.setdefault(tensor.device, name)
        if tensor.device.type == "meta":
            raise UserError(
                f"expected weights with values, but {name} is on the device meta; build the network without "
                "torch.device('meta'), or load its weights before (to_empty, then load_state_dict)"
            )
    if len(devices) > 1:
        located = ", ".join(f"{name} on {device}" for device, name in devices.items())
        raise UserError(f"expected all weights on one device, got {located}; move the network to one of them")


def weights_of(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name, but for those that a lazy module has not made yet."""
    for named in (network.named_parameters(), network.named_buffers()):
        yield from ((name, tensor) for name, tensor in named if not is_lazy(tensor))
