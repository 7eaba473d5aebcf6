"""The adversary of a training: it attacks the network in training, as fast as the device lets it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from attnlab.attacks.pgd import Attack, perturb
from attnlab.models.classifier import Classifier
from attnlab.models.fold import folded

#: times that an attack is made kernel by kernel before a GPU records it: libraries and compilers settle in the first
#: one, and whether anything waits for the GPU shows in the second
WARM_UPS = 2
#: share of a GPU's memory that an attack may take to be recorded: it keeps what it took, and large kernels need no help
SHARE = 0.1


class Recording(NamedTuple):
    """An attack as a CUDA graph.

    Attributes:
        graph: Replayed, it reads the inputs and writes the output.
        inputs: Images, labels and draws.
        output: Adversarial images; of the last replay, until the next.
    """

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor | None, ...]
    output: Tensor


class Adversary:
    """Attacks a classifier whose weights change from call to call, with its batch norms folded, see `models.fold`.

    On a GPU, an attack that comes again is recorded as a CUDA graph and replayed: launched one by one, the kernels of a
    small network take longer to launch than to run. A recording reads weights and running statistics where they lie and
    folds them in each replay, so they may change in place alone, as optimizers and batch norms do; hooks and other
    Python of the network do not run in it. What waits for the GPU, or takes much of its memory, is not recorded.

    Attributes:
        classifier: In whatever mode it is.
        victim: The same, or its compiled twin.
        pairs: The batch norms that are folded.
        dtype: What folded weights are cast to, see `folded`.
        records: Whether the last attack was, or will be, recorded.
    """

    def __init__(self, classifier: Classifier, *, dtype: torch.dtype | None = None, compiled: bool = False) -> None:
        """Find the norms; `compiled` lets torch.compile make the passes."""
        self.classifier = classifier
        self.victim: Classifier = torch.compile(classifier) if compiled else classifier  # type: ignore[assignment]
        self.pairs = classifier.foldable()
        self.dtype = dtype
        self.records = False
        self._recording: Recording | None = None
        self._key: tuple[Attack, torch.Size] | None = None
        self._times = 0

    def __call__(self, images: Tensor, labels: Tensor, attack: Attack, draws: Tensor | None) -> Tensor:
        """Adversarial images, as `perturb` makes them; valid until the next call.

        Args:
            images: Pixels in [0, 1], (N, C, H, W).
            labels: (N,).
            attack: Without restarts.
            draws: Of the random start, uniform in [0, 1), (N, C, H, W); None for an attack without one.
        """
        if self._key != (attack, images.shape):
            self._key, self._times, self._recording = (attack, images.shape), 0, None
        self._times += 1
        if self._times == WARM_UPS and images.device.type == "cuda":
            self.records = is_recordable(lambda: self._attack(images, labels, draws, attack), images.device)
        if self._times <= WARM_UPS or not self.records:
            return self._attack(images, labels, draws, attack)
        if self._recording is None:
            self._recording = self._record(images, labels, draws, attack)
        for mine, given in zip(self._recording.inputs, (images, labels, draws), strict=True):
            if mine is not None and given is not None:
                mine.copy_(given)
        self._recording.graph.replay()
        return self._recording.output

    def _attack(self, images: Tensor, labels: Tensor, draws: Tensor | None, attack: Attack) -> Tensor:
        with folded(self.classifier.network, self.pairs, self.dtype):
            return perturb(self.victim, images, labels, attack, seeds=draws)

    def _record(self, images: Tensor, labels: Tensor, draws: Tensor | None, attack: Attack) -> Recording:
        mine = images.clone(), labels.clone(), None if draws is None else draws.clone()
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream(images.device)  # type: ignore[no-untyped-call]
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):  # other threads may be NCCL's
            output = self._attack(*mine, attack)
        return Recording(graph, mine, output)


def is_recordable(work: Callable[[], object], device: torch.device) -> bool:
    """Try some work on a GPU: whether it never waits for it on the way, and takes little of its memory."""
    mode, before = torch.cuda.get_sync_debug_mode(), torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        work()
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        return False
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    taken = torch.cuda.max_memory_allocated(device) - before
    return taken <= SHARE * torch.cuda.get_device_properties(device).total_memory
