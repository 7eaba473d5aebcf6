"""Layer-wise relevance propagation (Bach et al. 2015) by captum, with its epsilon rule in every layer.

Captum has rules for modules. Here the sums, means, pools and activations that a network writes as functions run as
modules too, and it starts at the normalised images: a relevance is shared out, so that the division by a standard
deviation, which scales a gradient, must not change it. Of a network of convolutions, ReLUs and pools the result is the
normalised pixel times its gradient (Kindermans et al. 2016).
"""

from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnlab.arrays import Images, Labels, Logits, Maps
from attnlab.attention.activation_modules import (
    ELEMENTWISE,
    POOLS,
    ActivationModules,
    Call,
    Function,
    known_calls,
    running,
)
from attnlab.attention.captum_passes import Passes, captum, pixel_maps
from attnlab.attention.model_pass import ModelPass
from attnlab.errors import UserError
from attnlab.hooks import frozen_eval, watch
from attnlab.models.classifier import Classifier

ADDS: frozenset[Function] = frozenset(
    {torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__}
)
MEANS: frozenset[Function] = frozenset({torch.mean, Tensor.mean})
AVERAGES: frozenset[Function] = MEANS | {F.adaptive_avg_pool2d, F.avg_pool2d}
#: modules whose weights captum has a rule for -> the name of the function that each calls
WEIGHTED = {nn.Conv2d: "conv2d", nn.Linear: "linear", nn.BatchNorm2d: "batch_norm"}
#: functions that move values about and change none, those of no tensor, and dropout, which is off
MOVING = frozenset(
    {"view", "reshape", "flatten", "unflatten", "permute", "transpose", "squeeze", "unsqueeze", "getitem", "cat"}
    | {"concat", "chunk", "split", "contiguous", "to", "clone", "dropout", "size", "dim", "get", "len"}
    | {"is_floating_point", "promote_types"}
)
PLANE = ({2, 3}, {-2, -1})  # dimensions of a map


def lrp(seen: ModelPass) -> Maps:
    """Layer-wise relevance propagation: the share of each normalised pixel in the logit."""

    def attribute(passes: Passes, images: Images, classes: Labels, _: list[int]) -> Tensor:
        modules = _Relevance(passes.classifier)
        try:
            return captum("LRP")(modules).attribute(  # type: ignore[no-any-return]
                passes.classifier.normalise(images), target=classes
            )
        finally:
            for layer in modules.layers:  # captum leaves what it noted
                for name in ("rule", "activations"):
                    vars(layer).pop(name, None)

    return pixel_maps(seen, attribute)


class _Relevance(ActivationModules):
    """Normalised images to logits; its children are the layers with weights, and modules for all that have a rule."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier, ELEMENTWISE | POOLS | AVERAGES | ADDS)
        self.layers = [module for module in classifier.network.modules() if type(module) in WEIGHTED]

    def children(self) -> Any:
        """The modules that captum gives rules."""
        return iter([*self.layers, *self.activations])

    def module_for(self, call: Call) -> nn.Module:
        """A module of the kind whose rule captum applies."""
        if call.function in ADDS:
            from captum.attr._utils.custom_modules import Addition_Module

            return Addition_Module()  # type: ignore[no-any-return]
        if call.function in AVERAGES | POOLS:
            return nn.AvgPool2d(1)
        return nn.ReLU()

    def forward(self, normalised: Tensor) -> Logits:
        """Logits of normalised images."""
        return self.run(self._classifier[0].logits, normalised)

    def answer(self, module: nn.Module, call: Call) -> Any:
        """Make a call as the module's forward; a sum has two inputs with relevance."""
        if call.function in ADDS:
            return module(*call.arguments)
        value, *arguments = call.arguments
        function, options = call.function, call.options  # see `ActivationModules.answer`
        return running(module, lambda given: function(given, *arguments, **options))(value)

    def state_dict(self, *_: Any, **__: Any) -> Any:
        """Nothing: the epsilon rule changes no weight, and writing them back would."""
        return {}

    def load_state_dict(self, *_: Any, **__: Any) -> Any:
        """Take nothing."""


def allows_lrp(classifier: Classifier) -> None:
    """Refuse relevance propagation of a network that does anything captum has no rule for, or runs a layer twice.

    Raises:
        UserError: In both cases; it names what is done.
    """
    calls = known_calls(classifier)
    unruled = Counter(call.name for call in calls if not _has_rule(call))
    runs: Counter[nn.Module] = Counter()

    def count(_: str, module: nn.Module, inputs: object, output: Tensor) -> None:
        runs.update([module] if type(module) in WEIGHTED else [])

    with frozen_eval(classifier), torch.no_grad():
        watch(classifier.network, lambda: classifier(classifier.noise(1)), count)
    for kind, name in WEIGHTED.items():
        own = sum(times for module, times in runs.items() if type(module) is kind)
        if extra := sum(call.name == name for call in calls) - own:
            unruled[f"{name} outside a torch.nn.{kind.__name__}"] += extra
    if unruled:
        listed = ", ".join(f"{name} ({times})" for name, times in unruled.items())
        raise UserError(
            "expected a network of convolutions, linear layers, batch norms, pools, activations and sums for lrp, got "
            f"{listed}; try input-x-gradient or integrated-gradients"
        )
    if max(runs.values(), default=0) > 1:
        raise UserError("expected each layer with weights to run once a pass for lrp, got one that runs several times")


def _has_rule(call: Call) -> bool:
    """Whether relevance goes through a call as it should."""
    if call.function in ADDS:
        shapes = [getattr(value, "shape", None) for value in call.arguments]
        return len(shapes) == 2 and shapes[0] == shapes[1] and not call.options
    if call.function in MEANS:
        axes = call.options.get("dim", call.arguments[1] if len(call.arguments) > 1 else ())
        return isinstance(axes, tuple | list) and set(axes) in PLANE and call.arguments[0].ndim == 4
    ruled = call.function in ELEMENTWISE | POOLS | AVERAGES
    return ruled or call.name in MOVING or call.name in WEIGHTED.values()
