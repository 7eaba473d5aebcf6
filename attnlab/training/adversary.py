"""Attack the images of a training on the network in training, as fast as the device lets it, or on a static one."""

import random
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attnlab.arrays import Images, Labels
from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.errors import UserError
from attnlab.hooks import out_of_memory
from attnlab.models.bn_folding import folded
from attnlab.models.classifier import Classifier
from attnlab.seeding import seed_of

#: times that an attack is made kernel by kernel before a GPU records it: libraries and compilers settle in the first
#: one, and whether it can be recorded shows in the second
WARM_UPS = 2
#: share of a GPU's memory that an attack may take to be recorded: it keeps what it took, and large kernels need no help
SHARE = 0.1


class Recording(NamedTuple):
    """An attack as a CUDA graph: replayed, it reads the inputs and writes the output."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor | None, ...]  # images, labels and draws
    output: Images  # adversarial, of the last replay, until the next

    def replay(self, *inputs: Tensor | None) -> Images:
        """The output for other inputs."""
        for recorded, value in zip(self.inputs, inputs, strict=True):
            if recorded is not None and value is not None:
                recorded.copy_(value)
        self.graph.replay()
        return self.output


class Adversary:
    """Attacks a classifier whose weights change from call to call, with its batch norms folded (`models.bn_folding`).

    On a GPU, an attack that comes again is recorded as a CUDA graph and replayed: launched one by one, the kernels of a
    small network take longer to launch than to run. A recording reads weights and running statistics where they lie and
    folds them in each replay. Hooks and other Python of the network do not run in it; see `is_recordable`.
    """

    def __init__(self, classifier: Classifier, *, compiled: bool = False, cuda_graph: bool = True) -> None:
        self.classifier = classifier
        self.victim: Classifier = torch.compile(classifier) if compiled else classifier  # type: ignore[assignment]
        self.pairs = classifier.foldable()
        self._records = cuda_graph and classifier.device.type == "cuda"
        self._key: tuple[object, ...] = ()
        self._times = 0
        self._recordable = False
        self._recording: Recording | None = None

    def __call__(self, images: Images, labels: Labels, attack: Attack, draws: Tensor | None) -> Images:
        """Adversarial images, as `perturb` makes them without restarts; valid until the next call.

        `draws` are of the random start, uniform in [0, 1), (N, C, H, W); None for an attack without one.
        """
        if not self._records:
            return self._attack(images, labels, draws, attack)
        network = self.classifier.network
        # with where all that a recording reads lies: optimizers and batch norms change it in place
        key = (attack, images.shape, *(value.data_ptr() for value in (*network.parameters(), *network.buffers())))
        if key != self._key:
            self._key, self._times, self._recording = key, 0, None
        self._times += 1
        if self._times == WARM_UPS:
            self._recordable = is_recordable(lambda: self._attack(images, labels, draws, attack), images.device)
        if self._times <= WARM_UPS or not self._recordable:
            return self._attack(images, labels, draws, attack)
        if self._recording is None:
            self._recording = self._record(images, labels, draws, attack)
        return self._recording.replay(images, labels, draws)

    def _attack(self, images: Images, labels: Labels, draws: Tensor | None, attack: Attack) -> Images:
        with folded(self.classifier.network, self.pairs):
            return perturb(self.victim, images, labels, attack, seeds=draws)

    def _record(self, images: Images, labels: Labels, draws: Tensor | None, attack: Attack) -> Recording:
        inputs = images.clone(), labels.clone(), None if draws is None else draws.clone()
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream(images.device)  # type: ignore[no-untyped-call]
        try:
            # calls that other threads make, such as NCCL's, are none of the recording
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                output = self._attack(*inputs, attack)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"the attack cannot be recorded as a CUDA graph ({reason}); go on with --no-cuda-graph"
            ) from error
        return Recording(graph, inputs, output)


def is_recordable(work: Callable[[], object], device: torch.device) -> bool:  # pragma: only on CUDA
    """Try some work on a GPU: whether it waits for it nowhere, draws no numbers on the host and takes little memory.

    Random numbers are as before afterwards. What torch does not know of, such as a wait that it does not make itself,
    is not seen.
    """
    mode, before = torch.cuda.get_sync_debug_mode(), torch.cuda.memory_allocated(device)
    with torch.random.fork_rng([device]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode")  # is a prototype of torch's
        torch.cuda.reset_peak_memory_stats(device)
        host = torch.get_rng_state(), random.getstate()
        torch.cuda.set_sync_debug_mode("error")
        try:
            work()
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
            return False
        finally:
            torch.cuda.set_sync_debug_mode(mode)
        drawn = not torch.equal(torch.get_rng_state(), host[0]) or random.getstate() != host[1]
    taken = torch.cuda.max_memory_allocated(device) - before
    return not drawn and taken <= SHARE * torch.cuda.get_device_properties(device).total_memory


def check_sources(current: Classifier, static: Sequence[Classifier]) -> None:
    """Refuse static classifiers that cannot attack in place of the current one: none, other images, other classes."""
    if not static:
        raise UserError("expected --sources CHECKPOINT for the ensemble defense, once for each static model, got none")
    for number, source in enumerate(static, 1):
        for name in ("channels", "input_size", "classes"):
            wanted, got = getattr(current, name), getattr(source, name)
            if wanted != got:
                raise UserError(f"expected source {number} with {name} {wanted} as the trained model has, got {got}")


def draw_source(current: Classifier, static: Sequence[Classifier], seed: int, step: int) -> Classifier:
    """Draw the source of a batch uniformly from the static classifiers and the current one (Tramer et al. 2018).

    A static source aims at the class that it finds the least likely itself. The draw depends on the run's seed and the
    number of the step alone, so that a run resumes in the middle and every process draws the same.
    """
    sources = [current, *static]
    return sources[seed_of(seed, f"source of step {step}") % len(sources)]
