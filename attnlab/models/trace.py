"""One forward pass of noise: which outputs are maps, how they lie, and which of them Grad-CAM reads by default."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from attnlab.arrays import Logits
from attnlab.hooks import neighbours, watch
from attnlab.models.layouts import TOKENS, Layout, Seen, grid_of, is_rowwise, readings, width_of

FEW_CELLS = 16  # maps of fewer cells say little
_PASSED_OVER = ("Dropout", "AdaptiveAvgPool", "AvgPool")
_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm1d)


@dataclass
class Trace:
    """Outputs of all modules in one forward pass of two different images."""

    network: nn.Module
    size: tuple[int, int]  # height and width of the images
    known: Logits | None = None  # logits of an earlier pass, with which heads are found
    logits: Logits = field(init=False)
    outputs: list[Seen] = field(default_factory=list)  # in the order in which the modules were finished
    grids: list[tuple[int, int]] = field(default_factory=list)  # height and width of four-dimensional outputs
    # number of tokens -> place and number of those among them that depend on the image, as first seen
    patches: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    norms: list[tuple[str, str]] = field(default_factory=list)  # batch norms right behind a convolution, and that
    # the last output that is a map, or the last of the layer that was named: its module, and its version as it was made
    last: tuple[nn.Module, Tensor, int] | None = None

    @classmethod
    def of(
        cls, network: nn.Module, run: Callable[[], Logits], size: tuple[int, int], layer: nn.Module | None = None
    ) -> "Trace":
        """Run a network in eval mode once, or twice where an output could be a convolutional head's.

        `run` makes the pass, of two images of that size, and returns their logits; `layer` was named by the user.
        """
        trace = cls(network, size)
        trace._run(run, layer)
        classes = trace.logits.shape[1]
        if any(len(seen.shape) == 4 and classes in (seen.shape[1], seen.shape[3]) for seen in trace.outputs):
            trace = cls(network, size, trace.logits)
            trace._run(run, layer)
        return trace

    def _run(self, run: Callable[[], Logits], layer: nn.Module | None) -> None:
        """Make the pass, and note what its modules give."""
        last: list[tuple[Tensor, nn.Module]] = []  # the output before, and what made it
        width, rowwise, logits = 0, False, list[Logits]()

        def see(name: str, module: nn.Module, inputs: object, output: Tensor) -> None:
            nonlocal width, rowwise
            maker = last[0][1] if last and last[0][0] is output else module
            last[:] = [(output, maker)]
            width = width_of(module) or width
            if output.shape[:1] != (2,):  # windows, say
                return
            rowwise |= output.ndim in (3, 4) and is_rowwise(module, strictly=False)
            for tokens in (inputs, output):
                if isinstance(tokens, Tensor) and tokens.ndim == 3 and len(tokens) == 2 and not tokens.is_meta:
                    self._note_patches(tokens)
            aside = type(module).__name__.startswith(_PASSED_OVER) or self._is_head(output)
            seen = Seen(name, module, tuple(output.shape), maker, width, rowwise, aside)
            self.outputs.append(seen)
            if output.ndim == 4:
                self.grids += [layout.grid for layout in readings(seen, self.size)]
            if module is layer or (layer is None and output.ndim == 4 and not aside and self.layouts(seen)):
                self.last = None if output.is_inference() else (module, output, output._version)

        with neighbours(self.network, nn.BatchNorm2d, nn.Conv2d) as self.norms:
            watch(self.network, lambda: logits.append(run()), see)
        self.logits = logits[0]

    def output_of(self, name: str) -> Tensor | None:
        """The named module's last output, if it was kept and nothing worked in place on it later."""
        if self.last is None or self.last[0] is not self.network.get_submodule(name):
            return None
        _, output, version = self.last
        return output if output._version == version else None

    def _note_patches(self, tokens: Tensor) -> None:
        """Remember which tokens differ between the two images: the patches. Others come from parameters alone."""
        differ = (tokens[0] != tokens[1]).any(-1).nonzero().flatten().tolist()
        known = self.patches.setdefault(tokens.shape[1], [])
        if differ and differ[-1] - differ[0] + 1 == len(differ) and (differ[0], len(differ)) not in known:
            known.append((differ[0], len(differ)))

    def _is_head(self, output: Tensor) -> bool:
        """Whether the logits are the mean or the maximum of an output over its cells: a convolutional head."""
        logits = self.known
        if logits is None or output.is_meta or output.ndim != 4:
            return False
        values = output.to(logits.dtype)
        return any(
            close(pooled, logits, output.dtype)
            for axis, cells in ((1, (2, 3)), (3, (1, 2)))
            if output.shape[axis] == logits.shape[1]
            for maps in (values, values.relu())
            for pooled in (maps.mean(cells), maps.amax(cells))
        )

    def layouts(self, seen: Seen) -> list[Layout]:
        """The readings of an output as a map of more than one row and column: none, one, or two."""
        if len(seen.shape) == 4:
            return [layout for layout in readings(seen, self.size) if min(layout.grid) > 1]
        if len(seen.shape) != 3:
            return []
        for first, cells in self.patches.get(seen.shape[1], []):
            grid = grid_of(cells, self.size, self.grids)
            if grid is not None and min(grid) > 1:
                return [Layout(TOKENS, grid, first, seen.shape[1])]
        return []

    def layouts_of(self, name: str, shape: tuple[int, ...]) -> list[Layout]:
        """The readings of the named module's last output; of pools and other modules that were passed over, too.

        A named layer may have a map of a single row, column or cell.
        """
        module = self.network.get_submodule(name)  # may have other names
        outputs = [seen for seen in self.outputs if seen.module is module and seen.shape == shape]
        if not outputs:
            return []
        return readings(outputs[-1], self.size) if len(shape) == 4 else self.layouts(outputs[-1])

    def candidates(self) -> list[str]:
        """Names of the layers to read by default, the first of them that reaches the logits.

        The first is the last module to finish whose output is a map. Where it gives tokens, it is the first norm of the
        last block that runs, as the literature on vision transformers has it: behind the last attention, only the class
        token of many reaches the logits. Norms before it follow, for blocks whose first norm comes after the attention.
        """
        maps = [seen for seen in self.outputs if not seen.aside and self.layouts(seen)]
        if not maps:
            return []
        if len(maps[-1].shape) != 3:
            return [maps[-1].name]
        tokens = [seen for seen in maps if len(seen.shape) == 3 and _is_norm(seen)]
        norms = [seen.name for seen in tokens if seen.shape == tokens[-1].shape]
        first = _first_of_the_last_block(norms, dict(self.network.named_modules()))
        if first is None:
            return [maps[-1].name]
        return norms[norms.index(first) :: -1][:3]

    def finer(self) -> str | None:
        """The last layer that has not too few cells, and the size of its map, in words."""
        for seen in reversed(self.outputs):
            for layout in self.layouts(seen)[:1]:
                height, width = layout.grid
                if height * width >= FEW_CELLS and not seen.aside:
                    return f"{seen.name} ({height}x{width} cells)"
        return None


def _is_norm(seen: Seen) -> bool:
    if next(seen.module.children(), None) is not None:
        return False
    named = re.match(r"(norm|ln|layernorm)[_\d]*", seen.name.rpartition(".")[2])
    return isinstance(seen.module, _NORMS) or named is not None


def _first_of_the_last_block(names: list[str], modules: dict[str, nn.Module]) -> str | None:
    """The first of the modules that lie in the same block as the last of them that lies in one."""
    for name in reversed(names):
        if block := _block_of(name, modules):
            return next(other for other in names if other.startswith(f"{block}."))
    return None


def _block_of(name: str, modules: dict[str, nn.Module]) -> str | None:
    """The nearest module around that is one of a list of its kind."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        parent = modules[".".join(parts[: count - 1])]
        if isinstance(parent, nn.ModuleList | nn.Sequential) and len({type(child) for child in parent}) == 1:
            return ".".join(parts[:count])
    return None


def close(values: Tensor, expected: Tensor, precision: torch.dtype) -> bool:
    """Whether they agree to what rounding leaves in a precision; meta tensors, zeros and NaN never do."""
    if values.is_meta or expected.is_meta:
        return False
    largest = expected.abs().max()
    tolerance = 1e-4 if torch.finfo(precision).eps < 1e-5 else 3e-2
    return bool((largest > 0) & ((values - expected).abs().max() <= tolerance * largest))
